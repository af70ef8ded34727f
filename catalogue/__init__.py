"""Programs that write the data files of the package; ``make catalogue`` runs them.

make_prices  gandalf/pricing/prices.json, from genai-prices
make_models  gandalf/providers/models.json, from models.dev's data in two packages

What they read is needed at build time only, and locked in the files beside them.
"""
