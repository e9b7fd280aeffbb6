"""The law as data: Cedar policies with their reasons in English and Chinese, and the schema."""
