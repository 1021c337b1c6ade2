"""Money in: what billing asks of Stripe and what Stripe tells it. The only importer of ``stripe``; never in `serve`."""
