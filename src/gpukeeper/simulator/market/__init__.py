"""What the simulated Novita sells: products, stock, prices and sales."""
