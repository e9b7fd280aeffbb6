"""A contract says enough and nothing unknown; a table is what its contract promises."""

from collections.abc import Mapping

import pytest

from policies.conformance import Conformant, conform
from policies.contracts import DataContract, load_contract
from policies.disclosure import Releasable, clear
from policies.errors import MalformedContractError, NonConformantError, SmallCohortError
from policies.parties import Grade

TEXT = """
name = "orders"
version = 1
table = "orders.parquet"
subjects = "customers"

[unit]
kind = "customer"
columns = ["customer_id"]
rows = 8

[limit]
epsilon = "3.4"
delta = "1e-6"
window = "2025"

[[columns]]
name = "amount"
type = "float"
grade = "S2"
low = "0"
high = "500"
unit = "EUR"

[[columns]]
name = "category"
type = "string"
grade = "S1"
domain = ["home", "toys"]

[[columns]]
name = "customer_id"
type = "integer"
grade = "S3"

[[columns]]
name = "card_country"
type = "string"
grade = "S2"
optional = true
"""

SCHEMA = {"amount": "double", "category": "string", "customer_id": "int64"}


def changed(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


@pytest.fixture
def contract() -> DataContract:
    return load_contract(TEXT)


def test_a_contract_is_read(contract: DataContract) -> None:
    assert contract.unit.rows == 8
    assert str(contract.limit.epsilon) == "3.4"
    assert contract.column("category").domain == ("home", "toys")
    assert contract.column("card_country").optional
    assert contract.grades(["amount", "customer_id"]) == {Grade.S2, Grade.S3}


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        pytest.param('name = "orders"', "name = orders", "not TOML", id="bad_toml"),
        pytest.param("version = 1", 'version = "1"', "whole number", id="bad_version"),
        pytest.param("version = 1", "version = true", "whole number", id="bad_version_bool"),
        pytest.param('subjects = "customers"', "", "subjects is missing", id="bad_no_subjects"),
        pytest.param('name = "orders"', 'name = ""', "printable", id="bad_no_name"),
        pytest.param('"customers"', '"a\\u001fb"', "printable", id="bad_control_character"),
        pytest.param("rows = 8", "rows = 8\nnote = 1", "unknown key 'note'", id="bad_extra_key"),
        pytest.param("rows = 8", "rows = 0", "at least one row", id="bad_no_rows"),
        pytest.param('"customer"', '"person"', "unit kind", id="bad_unit_kind"),
        pytest.param('["customer_id"]', '["shopper"]', "no unit column shopper", id="bad_unit"),
        pytest.param('["customer_id"]', '["card_country"]', "never optional", id="bad_optional"),
        pytest.param('["customer_id"]', "[]", "names its columns", id="bad_no_unit_column"),
        pytest.param('epsilon = "3.4"', "epsilon = 3.4", "text in quotes", id="bad_float"),
        pytest.param('epsilon = "3.4"', 'epsilon = "0"', "above 0", id="bad_epsilon"),
        pytest.param('epsilon = "3.4"', 'epsilon = "inf"', "finite", id="bad_infinite"),
        pytest.param('delta = "1e-6"', 'delta = "1"', "between 0 and 1", id="bad_delta"),
        pytest.param('window = "2025"', 'window = ""', "window", id="bad_window"),
        pytest.param('"S2"', '"S9"', "grade of amount", id="bad_grade"),
        pytest.param('"float"', '"money"', "type of amount", id="bad_type"),
        pytest.param('low = "0"', "", "both low and high", id="bad_one_bound"),
        pytest.param('low = "0"', 'low = "500"', "not below", id="bad_bounds"),
        pytest.param('low = "0"', 'low = "zero"', "decimal", id="bad_bound"),
        pytest.param('"float"', '"string"', "only numbers", id="bad_text_bounds"),
        pytest.param('["home", "toys"]', "[]", "distinct", id="bad_empty_domain"),
        pytest.param('["home", "toys"]', '["a", "a"]', "distinct", id="bad_twice"),
        pytest.param('["home", "toys"]', '["a", 1]', "list of texts", id="bad_domain"),
        pytest.param('name = "category"', 'name = "amount"', "stands twice", id="bad_column"),
        pytest.param("version = 1", "version = 1\nkey = []\nkeys = 1", "'keys'", id="bad_key"),
        pytest.param(
            "version = 1", 'version = 1\nkey = ["x"]', "no key column x", id="bad_key_name"
        ),
        pytest.param(
            "version = 1", 'version = 1\nkey = ["card_country"]', "never optional", id="bad_key_gap"
        ),
        pytest.param("version = 1", "version = 1\npersons = 0", "at least 1", id="bad_persons"),
        pytest.param(
            'window = "2025"', 'window = "2025"\nfailures = "1"', "below 1", id="bad_purse"
        ),
        pytest.param(
            'window = "2025"', 'window = "2025"\nfailures = "-1e-9"', "0 or more", id="bad_debt"
        ),
        pytest.param("orders.parquet", "../orders.parquet", "plain file name", id="bad_path"),
    ],
)
def test_another_contract_is_refused_in_one_sentence(old: str, new: str, sentence: str) -> None:
    with pytest.raises(MalformedContractError, match=sentence) as caught:
        load_contract(changed(old, new))
    assert "\n" not in str(caught.value)


FURTHER = """
[[also]]
kind = "order"
columns = ["category"]
subjects = "orders-of-customers"
[also.limit]
epsilon = "5"
delta = "1e-7"
window = "2025"
failures = "1e-9"
"""


def test_what_is_not_written_has_its_meaning(contract: DataContract) -> None:
    assert (contract.key, contract.persons, contract.also) == ((), None, ())
    assert contract.row_key == tuple(column.name for column in contract.columns)
    assert contract.limit.failures == 0


def test_a_contract_names_its_key_its_people_and_its_further_units() -> None:
    text = changed("version = 1", 'version = 1\nkey = ["customer_id"]\npersons = 50000')
    contract = load_contract(text.replace('window = "2025"', 'window = "2025"\nfailures = "1e-9"'))
    assert (contract.row_key, contract.persons) == (("customer_id",), 50_000)
    assert str(contract.limit.failures) == "1E-9"
    (order,) = load_contract(TEXT + FURTHER).also
    assert (order.kind, order.columns, order.subjects) == (
        "order",
        ("category",),
        "orders-of-customers",
    )
    assert (str(order.limit.epsilon), str(order.limit.failures)) == ("5", "1E-9")


@pytest.mark.parametrize(
    ("touches", "whole", "group"), [(1, False, 2), (3, False, 6), (1, True, 1), (8, True, 8)]
)
def test_a_unit_that_changes_another_counts_twice(touches: int, whole: bool, group: int) -> None:
    more = f"touches = {touches}\nwhole = {str(whole).lower()}\n[also.limit]"
    (unit,) = load_contract(TEXT + FURTHER.replace("[also.limit]", more)).also
    assert unit.group == group
    assert load_contract(TEXT + FURTHER).also[0].group == 2


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        pytest.param('"order"', '"person"', "also.. kind", id="bad_kind"),
        pytest.param('["category"]', "[]", "names its columns", id="bad_no_columns"),
        pytest.param('["category"]', '["basket"]', "no unit column basket", id="bad_column"),
        pytest.param('["category"]', '["card_country"]', "never optional", id="bad_optional"),
        pytest.param('"orders-of-customers"', '""', "names its subjects", id="bad_no_subjects"),
        pytest.param('"orders-of-customers"', '"a\\u001fb"', "printable", id="bad_subjects"),
        pytest.param("[also.limit]", "touches = 0\n[also.limit]", "at least one", id="bad_touches"),
        pytest.param(
            "[also.limit]", 'whole = "yes"\n[also.limit]', "true or false", id="bad_whole"
        ),
        pytest.param("[also.limit]", "[also.limits]", "unknown key", id="bad_limits"),
        pytest.param('epsilon = "5"', "", "epsilon is missing", id="bad_no_epsilon"),
        pytest.param('"1e-7"', '"0"', "between 0 and 1", id="bad_delta"),
    ],
)
def test_another_further_unit_is_refused_in_one_sentence(old: str, new: str, sentence: str) -> None:
    assert old in FURTHER
    with pytest.raises(MalformedContractError, match=sentence) as caught:
        load_contract(TEXT + FURTHER.replace(old, new, 1))
    assert "\n" not in str(caught.value)


def test_a_further_unit_stands_once_and_is_not_the_first_again() -> None:
    same = FURTHER.replace('"order"', '"customer"').replace("orders-of-customers", "customers")
    for more in (FURTHER + FURTHER, same):
        with pytest.raises(MalformedContractError, match="stands twice"):
            load_contract(TEXT + more)


def test_columns_that_are_no_tables_are_refused() -> None:
    text = TEXT[: TEXT.index("[[columns]]")].replace("version", 'columns = ["a"]\nversion', 1)
    with pytest.raises(MalformedContractError, match="not a table"):
        load_contract(text)


@pytest.mark.parametrize(
    "schema",
    [
        SCHEMA,
        {**SCHEMA, "amount": "float", "card_country": "large_string"},
        {**SCHEMA, "amount": "decimal128(12, 2)", "customer_id": "BIGINT"},
        {
            **SCHEMA,
            "amount": "int32",
            "category": "dictionary<values=string, indices=int32, ordered=0>",
        },
        {**SCHEMA, "unheard_of": "blob"},
    ],
)
def test_a_table_that_keeps_the_contract_conforms(
    contract: DataContract, schema: Mapping[str, str]
) -> None:
    evidence = conform(contract, schema, empty=False)
    assert evidence.present == frozenset(schema) - {"unheard_of"}
    with pytest.raises(TypeError, match="minted"):
        Conformant(contract, evidence.present)


@pytest.mark.parametrize(
    ("schema", "empty", "sentence"),
    [
        ({"category": "string", "customer_id": "int64"}, False, "no column amount"),
        ({**SCHEMA, "amount": "string"}, False, "amount is string"),
        ({**SCHEMA, "customer_id": "double"}, False, "customer_id is double"),
        ({**SCHEMA, "category": "list<item: string>"}, False, "category is list"),
        ({**SCHEMA, "card_country": "int64"}, False, "card_country is int64"),
        (SCHEMA, True, "no rows"),
    ],
)
def test_a_table_that_breaks_the_contract_is_refused(
    contract: DataContract, schema: Mapping[str, str], empty: bool, sentence: str
) -> None:
    with pytest.raises(NonConformantError, match=sentence):
        conform(contract, schema, empty)


def test_a_commercial_unit_is_labelled_so() -> None:
    contract = load_contract(changed('kind = "customer"', 'kind = "commercial"'))
    assert contract.unit.label == "commercial confidentiality"


def test_only_enough_contributors_release() -> None:
    assert clear({"n": 1}, 3, 3).result == {"n": 1}
    for contributors, minimum in ((2, 3), (0, 2), (5, 1)):
        with pytest.raises(SmallCohortError):
            clear({}, contributors, minimum)
    with pytest.raises(TypeError, match="minted"):
        Releasable({}, 9)
