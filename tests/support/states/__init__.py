"""States as earlier versions left them."""
