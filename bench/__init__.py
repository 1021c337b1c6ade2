"""One measuring harness for us and our peers: the same load, the same stub upstream, the same two cores."""
