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
        pytest.param("orders.parquet", "../orders.parquet", "plain file name", id="bad_path"),
    ],
)
def test_another_contract_is_refused_in_one_sentence(old: str, new: str, sentence: str) -> None:
    with pytest.raises(MalformedContractError, match=sentence) as caught:
        load_contract(changed(old, new))
    assert "\n" not in str(caught.value)


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
