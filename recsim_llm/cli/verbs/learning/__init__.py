"""Commands that train policies and models, and studies that compare them."""
