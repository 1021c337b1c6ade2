"""Our own clients and our response cycle beside the libraries that could replace them."""
