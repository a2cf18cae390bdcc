"""Speed and size of every part, each beside a peer's way of doing the same work in the same run. No pass, no fail."""
