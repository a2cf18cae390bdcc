"""For tests of your own components: contracts to inherit, and scripted models, also misbehaving ones."""
