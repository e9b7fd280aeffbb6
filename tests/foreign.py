"""One table of orders as four partners keep it: other names, units, zones, codes and languages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tests import sourced

BERLIN = "Europe/Berlin"
GERMAN = {
    "order_id": "Bestell-Nr",
    "customer_id": "Kundennummer",
    "ts": "Bestellzeit",
    "amount": "Betrag",
    "category": "Warengruppe",
    "counterparty_id": "Händlernummer",
    "ship_country": "Lieferland",
    "ip_country": "IP-Land",
    "card_country": "Kartenland",
    "first_order": "Neukunde",
    "label_fraud": "Betrug",
    "label_ts": "gemeldet am",
}
CHINESE = {
    "order_id": "订单号",
    "customer_id": "客户编号",
    "ts": "下单时间",
    "amount": "金额",
    "category": "品类",
    "counterparty_id": "商户号",
    "ship_country": "收货国家",
    "ip_country": "IP国家",
    "card_country": "发卡国",
    "first_order": "首单",
    "label_fraud": "欺诈",
    "label_ts": "举报时间",
}
FRENCH = {
    "order_id": "id_commande",
    "customer_id": "id_client",
    "ts": "date_commande",
    "amount": "montant_eur",
    "category": "catégorie",
    "counterparty_id": "id_marchand",
    "ship_country": "pays_livraison",
    "ip_country": "pays_ip",
    "card_country": "pays_carte",
    "first_order": "nouveau_client",
    "label_fraud": "fraude",
    "label_ts": "date_de_signalement",
}
ENGLISH = {
    "order_id": "orderNumber",
    "customer_id": "custId",
    "ts": "orderedAt",
    "amount": "orderValue",
    "category": "productGroup",
    "counterparty_id": "sellerId",
    "ship_country": "deliveryCountry",
    "ip_country": "geoipCountry",
    "card_country": "issuerCountry",
    "first_order": "isNewCustomer",
    "label_fraud": "fraudFlag",
    "label_ts": "reportedAt",
}


@dataclass(frozen=True)
class Foreign:
    """A source that was laid down: what draft is told of it, and the answers by keys."""

    words: Sequence[str]
    answers: Mapping[str, str]


def local(moments: "pd.Series[Any]", zone: str = BERLIN) -> "pd.Series[Any]":
    return moments.dt.tz_localize("UTC").dt.tz_convert(zone).dt.tz_localize(None)


def comma(value: float) -> str:
    return f"{value:,.2f}".translate(str.maketrans(",.", ".,"))


def in_csv(path: Path, found: pd.DataFrame) -> Foreign:
    """German: a semicolon between, a comma before cents, the day first, Berlin's clocks."""
    table = found.assign(
        ts=local(found.ts).dt.strftime("%d.%m.%Y %H:%M:%S"),
        label_ts=local(found.label_ts).dt.strftime("%d.%m.%Y %H:%M:%S"),
        amount=found.amount.map(comma),
        category=found.category.map({"books": "Bücher", "home": "Haus & Hof", "toys": "Spielzeug"}),
        first_order=found.first_order.map({0: "nein", 1: "ja"}),
        label_fraud=found.label_fraud.map({0: "N", 1: "J"}),
        ship_country=found.ship_country.map({"GB": "Großbritannien"}).fillna(found.ship_country),
    )
    table = table.rename(columns=GERMAN).assign(Bemerkung="telefonisch")
    file = path / "Bestellungen.csv"
    table[sorted(table.columns)].to_csv(file, sep=";", index=False)
    answers = {
        "zone:ts": BERLIN,
        "zone:label_ts": BERLIN,
        "unit:amount": "EUR",
        "code:category:Haus & Hof": "home",
    }
    return Foreign([str(file)], answers)


def in_parquet(path: Path, found: pd.DataFrame) -> Foreign:
    """English: cents as whole numbers, categories by number, moments without a zone."""
    table = found.assign(
        ts=local(found.ts, "America/Sao_Paulo"),
        label_ts=found.label_ts.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"),
        amount=(found.amount * 100).round().astype("int64"),
        category=found.category.map({"books": 10, "home": 20, "toys": 30}),
        label_fraud=found.label_fraud.astype(bool),
    ).rename(columns=ENGLISH)
    file = path / "orders-export.parquet"
    pq.write_table(pa.Table.from_pandas(table.iloc[::-1], preserve_index=False), file)
    answers = {
        "zone:ts": "America/Sao_Paulo",
        "unit:amount": "EUR/100",
        "code:category:10": "books",
        "code:category:20": "home",
        "code:category:30": "toys",
    }
    return Foreign([str(file)], answers)


def in_postgresql(url: str, found: pd.DataFrame) -> Foreign:
    """Chinese: yuan at a stated rate, Shanghai's clocks, three-letter countries."""
    names = [CHINESE[name] for name in found.columns]
    kinds = ["bigint", "numeric(9,1)", "timestamp", "numeric(12,2)", "varchar(20)", "float8"]
    kinds += ["char(3)", "char(3)", "char(3)", "boolean", "boolean", "timestamp"]
    iso3 = {"DE": "DEU", "FR": "FRA", "GB": "GBR", "US": "USA", "CN": "CHN", "BR": "BRA"}
    table = found.assign(
        ts=local(found.ts, "Asia/Shanghai"),
        label_ts=local(found.label_ts, "Asia/Shanghai"),
        amount=found.amount.map(lambda value: f"{value * 8:.2f}"),
        category=found.category.map({"books": "图书", "home": "家居", "toys": "玩具"}),
        first_order=found.first_order.astype(bool),
        label_fraud=found.label_fraud.astype(bool),
        **{name: found[name].map(iso3) for name in found.columns if name.endswith("country")},
    )
    with sourced.postgresql(url) as db:
        db.execute('DROP TABLE IF EXISTS "订单"')
        columns = ", ".join(f'"{n}" {k}' for n, k in zip(names, kinds, strict=True))
        db.execute(f'CREATE TABLE "订单" ({columns}, "备注" jsonb)')
        with db.cursor() as cursor:
            into = ", ".join(f'"{name}"' for name in names)
            with cursor.copy(f'COPY "订单" ({into}) FROM STDIN') as copy:
                for row in _rows(table):
                    copy.write_row(row)
    answers = {
        "zone:ts": "Asia/Shanghai",
        "zone:label_ts": "Asia/Shanghai",
        "unit:amount": "CNY",
        "rate:amount:CNY": "0.125",
    }
    return Foreign([url, "--relation", "订单"], answers)


def in_mariadb(url: str, found: pd.DataFrame) -> Foreign:
    """French: the unit in the name, moments in the server's own zone."""
    names = [FRENCH[name] for name in found.columns]
    kinds = [
        "bigint unsigned",
        "int",
        "datetime(6)",
        "decimal(12,2)",
        "varchar(20)",
        "decimal(9,2)",
    ]
    kinds += ["char(2)"] * 3 + ["tinyint(1)", "char(3)", "timestamp(6) NULL"]
    table = found.assign(
        ts=local(found.ts, "Europe/Paris"),
        category=found.category.map({"books": "livres", "home": "maison", "toys": "jouets"}),
        label_fraud=found.label_fraud.map({0: "non", 1: "oui"}),
    )
    with sourced.mariadb(url) as db:
        db.execute("SET time_zone = '+00:00'")
        db.execute("DROP TABLE IF EXISTS `commandes`")
        columns = ", ".join(f"`{n}` {k}" for n, k in zip(names, kinds, strict=True))
        db.execute(f"CREATE TABLE `commandes` ({columns}) CHARACTER SET utf8mb4")
        marks = ", ".join(["%s"] * len(names))
        db.executemany(f"INSERT INTO `commandes` VALUES ({marks})", _rows(table))
    answers = {"zone:ts": "Europe/Paris"}
    return Foreign([url, "--relation", "commandes"], answers)


def _rows(table: pd.DataFrame) -> list[list[Any]]:
    return [[_plain(value) for value in row] for row in table.itertuples(index=False, name=None)]


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    if isinstance(value, pd.Timestamp):
        return value.to_pydatetime()
    return value.item() if hasattr(value, "item") else value
