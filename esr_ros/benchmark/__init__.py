"""Speed of the node: a camera, the node and a listener in processes of their own."""
