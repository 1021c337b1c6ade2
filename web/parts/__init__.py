"""Parts that pages are put together from: values made here, templates beside them."""
