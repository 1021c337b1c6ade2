"""Invoices, credit notes and statements: numbered, rendered, checked, kept. Only the jobs process renders."""
