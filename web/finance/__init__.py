"""Pages of the finance console, for operators: documents, payments, exports, close, reconciliation."""
