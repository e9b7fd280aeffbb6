"""Questions about one table: as the text in SQL, and as what stands in which clause."""

YEAR = "day >= '2025-01-01' AND day < '2025-07-01'"

CASES = [  # (SELECT, WHERE, GROUP BY)
    ("COUNT(*)", "", ""),
    ("COUNT(*), COUNT(amount), COUNT(note), COUNT(gift)", "", ""),
    ("SUM(amount), AVG(amount)", "", ""),
    ("SUM(balance), AVG(balance)", "", "category"),
    ("COUNT(*), SUM(amount)", "amount > 100", "category"),
    ("COUNT(*)", "amount > 100 OR gift", "hour"),
    ("COUNT(*)", "NOT gift", "gift"),
    ("COUNT(*)", "gift IS NULL OR note IS NOT NULL", ""),
    ("COUNT(*)", "note IN ('apple', 'banana')", "category"),
    ("COUNT(*)", "note IN ('apple', 'banana')", "note"),
    ("COUNT(*)", "NOT note IN ('apple')", ""),
    ("COUNT(*)", "note LIKE 'Ap%'", ""),
    ("COUNT(*)", "LOWER(note) LIKE 'ap%'", "category"),
    ("COUNT(*)", "starts_with(note, 'b')", ""),
    ("SUM(amount)", "amount BETWEEN 50 AND 150.5", ""),
    ("SUM(amount)", "amount NOT BETWEEN 50 AND 150.5", "hour"),
    ("COUNT(*)", "NULLIF(quantity, 0) > 1", ""),
    ("SUM(amount / NULLIF(quantity, 0))", "quantity BETWEEN 0 AND 2", ""),
    ("SUM(amount * quantity)", "quantity <= 3 AND quantity >= 0", "category"),
    ("SUM(amount * (1 - discount))", "", "category"),
    ("SUM(-balance), SUM(ABS(balance)), SUM(balance + 2 - hour)", "", ""),
    ("SUM(FLOOR(amount / 7)), SUM(CEIL(amount / 7)), SUM(ROUND(amount / 7))", "", ""),
    ("SUM(CAST(amount / 2 AS INTEGER))", "", ""),
    ("SUM(CASE WHEN gift THEN amount ELSE 0 END)", "", "category"),
    ("SUM(CASE WHEN gift THEN 1 END), COUNT(CASE WHEN gift THEN 1 END)", "", ""),
    ("SUM(CASE hour WHEN 0 THEN 5 WHEN 1 THEN 7 ELSE 1 END)", "", ""),
    ("SUM(COALESCE(amount, 3))", "", ""),
    ("SUM(LEAST(balance, hour - 3))", "", ""),
    ("SUM(GREATEST(balance, -5)), SUM(LEAST(discount, 0.25))", "", ""),
    ("SUM(amount) FILTER (WHERE gift), COUNT(*) FILTER (WHERE NOT gift)", "", "category"),
    ("COUNT(*)", YEAR, "YEAR(day)"),
    ("COUNT(*), SUM(amount)", YEAR, "DATE_TRUNC('month', day)"),
    ("COUNT(*)", YEAR, "DATE_TRUNC('week', day)"),
    ("COUNT(*)", "", "MONTH(day)"),
    ("COUNT(*)", "", "EXTRACT(quarter FROM day)"),
    ("COUNT(*)", "HOUR(stamp) < 12", "DAYOFWEEK(day)"),
    ("SUM(DATE_DIFF('day', DATE '2025-01-01', day))", YEAR, "category"),
    ("SUM(DATE_DIFF('month', day, DATE '2026-01-01'))", YEAR, ""),
    ("COUNT(*)", "stamp >= '2025-01-01' AND stamp < '2025-03-01'", "category"),
    ("COUNT(*)", "CAST(stamp AS DATE) = day AND day > DATE '2025-02-01'", ""),
    ("COUNT(*), SUM(amount)", "", "FLOOR(amount / 100)"),
    ("COUNT(*)", "", "CASE WHEN amount > 250 THEN 'high' WHEN amount > 100 THEN 'mid' END"),
    ("COUNT(*)", "", "category, hour"),
    ("COUNT(*), SUM(balance)", "gift = TRUE", "category, gift"),
    ("VAR_POP(amount), VAR_SAMP(amount)", "", ""),
    ("STDDEV_POP(balance), STDDEV(balance)", "", "category"),
    ("VARIANCE(balance), AVG(balance)", "hour > 0", ""),
    ("CORR(amount, balance)", "", ""),
    ("COVAR_POP(amount, balance), COVAR_SAMP(amount, balance)", "", "category"),
    ("REGR_SLOPE(amount, balance), REGR_INTERCEPT(amount, balance)", "", ""),
    ("SUM(amount) / COUNT(*)", "", "category"),
    ("ROUND(AVG(balance), 2)", "", ""),
]


def text(select, where, group):
    keys = f"{group}, " if group else ""
    tail = f" WHERE {where}" if where else ""
    tail += f" GROUP BY {group}" if group else ""
    return f"SELECT {keys}{select} FROM orders{tail}"
