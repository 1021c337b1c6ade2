"""What the `gigarouter` command can do, one module per noun."""
