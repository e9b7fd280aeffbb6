"""Where Hydra stops: configuration files in, frozen values out, or one sentence naming the key."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from importlib.resources import as_file, files
from typing import Any, Final

from experiments.errors import PolicyRefusalError, UsageError
from experiments.ordering import Terms
from federation.boosted import Boosted
from federation.boosting import Boosting
from federation.errors import MalformedOrderError
from federation.evaluation import Evaluation, ForecastSums, ScoreSums
from federation.feature_scales import Bins
from federation.groups import fewest_nodes
from federation.informed import Informed
from federation.key_rates import Key
from federation.losses import Loss, Pinball
from federation.models import ModelSpec
from federation.recipes import Recipe
from federation.scaled import MOST_RELEASES, Scaled
from federation.second_order import SecondOrder
from federation.sequences import Network, SequenceSpec
from federation.sum_recipes import LARGEST_COHORT, Method, SumRecipe
from federation.tasks import MODELS, AnyRecipe, TrainingTask
from policies.budget import accountant
from policies.errors import PolicyError
from policies.parties import PartyId
from secure_compute import skellam

MOST_NODES: Final = 16
"""Nodes of a secure sum, until an order names its cohort; more where its groups need them."""

LOUDNESS: Final = 10

NOISELESS: Final = Decimal("1e-9")
"""Stands for "no noise" in a recipe that never leaves this process."""


@dataclass(frozen=True, slots=True)
class DataSettings:
    """Which data a simulation runs on.

    parties:  how the rows are divided, such as `warehouses`, or `apart` for a party per retailer.
    features: which of a set's features are used, by what they read: `all`, or `own` for those that
              read their own unit's rows alone.
    folder:   where the files of a real set lie; empty for the usual place.
    flipped:  a party of the generated commerce, or an issuer of the handbook, that calls its frauds
              honest and some honest orders fraud; empty for none.
    loudness: by what it multiplies what it clipped, where it is studied.
    struck:   part of the generated frauds that strike at a few counterparties.
    """

    name: str
    size: str
    seed: int
    heterogeneity: float
    parties: str
    features: str = "all"
    folder: str = ""
    flipped: str = ""
    loudness: int = LOUDNESS
    struck: float = 0.0


@dataclass(frozen=True, slots=True)
class Settings:
    """One composed configuration. private is False only where simulations allow it."""

    task: TrainingTask
    terms: Terms
    data: DataSettings
    private: bool
    epsilon: float | None


def compose(overrides: Sequence[str]) -> Settings:
    """Read the configuration with `overrides` such as `privacy.epsilon=1`.

    Raises:
        UsageError: an override names a key or a value that does not exist.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    with as_file(files("experiments") / "conf") as folder:
        try:
            with initialize_config_dir(config_dir=str(folder.resolve()), version_base="1.3"):
                config = hydra_compose(config_name="train", overrides=list(overrides))
            value = OmegaConf.to_container(config, resolve=True)
        except (HydraException, OmegaConfBaseException) as why:
            raise UsageError(f"configuration: {_first_line(why)}") from why
    if not isinstance(value, dict):
        raise UsageError("the configuration is not a mapping")
    return read(value)


def compose_run(model: str, overrides: Sequence[str]) -> Settings:
    """Return the settings of a training run that nodes are asked for.

    Raises:
        UsageError: the overrides name another model's experiment, or data that no node holds.
        PolicyRefusalError: it asks for a run without privacy.
    """
    settings = compose([f"experiment={model}", *overrides])
    if not settings.private:
        raise PolicyRefusalError(
            "BASE-007 a run without differential privacy is refused by every node, so that it has "
            "no price; drop privacy=none, or use `entrepot simulate` on your own data"
        )
    if settings.data.name not in {"cheese", "commerce"} or settings.task.model not in MODELS:
        raise UsageError(
            f"nodes train {' and '.join(MODELS)} on their own rows: {settings.task.model} on "
            f"{settings.data.name} is for `entrepot simulate`"
        )
    if settings.task.model != model:
        raise UsageError(
            f"the overrides make it a run of {settings.task.model}: write `train "
            f"{settings.task.model}`, or drop them"
        )
    return settings


def read(value: dict[Any, Any]) -> Settings:
    """Return the settings of a composed configuration.

    Raises:
        UsageError: a value is missing or impossible.
    """
    try:
        private = value["privacy"]["unit"] != "none"
        return Settings(
            TrainingTask(
                value["model"]["name"],
                _whole(value, "seed"),
                0,
                _recipe(value, private),
                floor=_number(value["model"], "floor") if "floor" in value["model"] else Decimal(0),
            ),
            _terms(value),
            DataSettings(**value["data"]),
            private,
            float(_number(value["privacy"], "epsilon")) if private else None,
        )
    except (KeyError, TypeError, ValueError) as why:
        raise UsageError(f"configuration: {why}") from why
    except (MalformedOrderError, PolicyError) as why:
        raise UsageError(f"configuration: {why}") from why


def _recipe(value: dict[Any, Any], private: bool) -> AnyRecipe:
    match value["model"]["scheme"]:
        case "fedavg":
            return _averaged(value["model"], value["privacy"], _spec(value), private)
        case "sums" | "boosting":
            seed = _whole(value, "seed")
            return _summed(value["model"], value["privacy"], _spec(value), seed, private)
    raise UsageError("configuration: model.scheme is fedavg, sums or boosting")


def _spec(value: dict[Any, Any]) -> Network:
    model = value["model"]
    inputs = _inputs(model, value["data"]) + len(_keys(model))
    if "network" in model:
        from clients.training.demand import CHANNELS

        steps, channels = _whole(model, "window") - 1, len(CHANNELS)
        statics = inputs - steps * channels
        return SequenceSpec(model["network"], steps, channels, statics, _whole(model, "hidden"))
    return ModelSpec((inputs, *model["hidden"], 1), model["activation"])


def _loss(model: dict[Any, Any]) -> Loss:
    """Return the loss of a model: that of a quantile where one is configured, else by name."""
    quantile = model.get("quantile")
    if quantile is None:
        named: Loss = model["loss"]
        return named
    if model["name"] != "demand":
        raise UsageError(
            f"configuration: model.quantile is of forecasts, and {model['name']} makes none: "
            "leave it out"
        )
    return Pinball(_number(model, "quantile"))


def _averaged(
    model: dict[Any, Any], privacy: dict[Any, Any], spec: Network, private: bool
) -> Recipe:
    if not isinstance(spec, ModelSpec):
        raise UsageError("configuration: networks over a series train by model.scheme=sums")
    if _scales(model):
        raise UsageError(
            "configuration: scales are released by secure sums, and FedAvg has none; leave "
            "model.scales out, or set model.scheme=sums"
        )
    if _option(model, "groups", 1) != 1 or _option(model, "trimmed", 0):
        raise UsageError(
            "configuration: groups are of secure sums, and by FedAvg every update is seen: leave "
            "model.groups and model.trimmed out, or choose model.scheme=sums"
        )
    releases, horizons = _whole(model, "rounds") * _whole(model, "steps"), _horizons(model)
    return Recipe(
        model=spec,
        loss=_loss(model),
        rounds=_whole(model, "rounds"),
        steps=_whole(model, "steps"),
        sampling_rate=_number(privacy, "sampling_rate"),
        clip=_number(privacy, "clip", horizons),
        noise_multiplier=_noise(privacy, releases) if private else NOISELESS,
        grid=_whole(privacy, "grid"),
        learning_rate=_number(model, "learning_rate"),
        expected_units=_whole(privacy, "expected_units") * horizons,
        rows_per_unit=_rows(model, privacy),
        server_rate=_number(model, "server_rate"),
        server_momentum=_number(model, "server_momentum"),
        proximal=_number(model, "proximal"),
        server_memory=_number(model, "server_memory"),
        server_floor=_number(model, "server_floor"),
        window=_whole(model, "window"),
        horizons=horizons,
    )


def _horizons(model: dict[Any, Any]) -> int:
    """Return how many weeks ahead a model forecasts; 1 where none are configured.

    A unit's part of a sum is that of all its horizons' rows. Clips, divisors and ridges are
    configured for one row, and grow with them: so the same numbers serve any horizons.
    """
    horizons = _option(model, "horizons", 1)
    if horizons < 1:
        raise UsageError("configuration: model.horizons counts weeks ahead, from 1 on")
    if horizons != 1 and model["name"] != "demand":
        raise UsageError(
            f"configuration: model.horizons is of forecasts, and {model['name']} makes none: "
            "leave it out"
        )
    return horizons


def _rows(model: dict[Any, Any], privacy: dict[Any, Any]) -> int:
    """Return the rows of a unit: as many as are configured, for every horizon."""
    return _whole(privacy, "rows_per_unit") * _horizons(model)


def _summed(
    model: dict[Any, Any], privacy: dict[Any, Any], spec: Network, seed: int, private: bool
) -> SumRecipe:
    """Return a recipe for any number of nodes; an order or a simulation says how many there are."""
    units = _whole(privacy, "expected_units")
    method = _method(model, privacy, spec, seed)
    rounds = method.rounds
    rows, holdout = _rows(model, privacy), _number(model, "holdout")
    measured = _measured(model, rows) if holdout else None
    rounds += measured is not None
    noise = _noise(privacy, rounds) if private else NOISELESS
    groups, colluding = _option(model, "groups", 1), _whole(privacy, "colluding")
    return SumRecipe(
        method=method,
        holdout=holdout,
        evaluation=measured,
        sampling_rate=_number(privacy, "sampling_rate"),
        noise_multiplier=noise,
        grid=_grid(_whole(privacy, "grid"), noise),
        expected_units=units,
        rows_per_unit=rows,
        window=_whole(model, "window"),
        horizons=_horizons(model),
        groups=groups,
        trimmed=_option(model, "trimmed", 0),
        nodes=_nodes_for(groups, colluding),
        colluding=colluding,
        ring_bits=_whole(privacy, "ring_bits"),
    )


def _nodes_for(groups: int, colluding: int) -> int:
    """Return a number of nodes of which such groups can be made, where any can."""
    needed = fewest_nodes(groups, colluding) if groups > 1 else 0
    return min(max(MOST_NODES, needed), LARGEST_COHORT)


def _measured(model: dict[Any, Any], rows: int) -> Evaluation:
    if model["loss"] == "bce":
        return ScoreSums(rows, min(_whole(model, "rare_rows"), rows))
    return ForecastSums(rows, _number(model, "most_volume"), _number(model, "most_error"))


def _grid(wanted: int, noise: Decimal) -> int:
    """Return the finest grid up to the one wanted, by halves, at which so loud a noise is drawn."""
    loudest = math.isqrt(skellam.LARGEST_VARIANCE) // 2
    while wanted > 1 and wanted * noise > loudest:
        wanted //= 2
    return wanted


def _method(model: dict[Any, Any], privacy: dict[Any, Any], spec: Network, seed: int) -> Method:
    if model["scheme"] == "boosting":
        if model.get("quantile") is not None or _horizons(model) != 1:
            raise UsageError(
                "configuration: boosting has no quantiles and one horizon; leave model.quantile "
                "and model.horizons out, or choose experiment=demand_quantile"
            )
        if _scales(model):
            raise UsageError(
                "configuration: boosting asks on which side of a threshold a value lies, whatever "
                "its scale; leave model.scales out"
            )
        return Boosted(boosting=_boosting(model), seed=seed)
    keys = _keys(model)
    plain = _scaled(model, _second_order(model, privacy, spec))
    if not keys:
        return plain
    return Informed(
        keys=keys,
        releases=_whole(model, "statistics_rounds"),
        event_clip=_number(model, "event_clip"),
        row_clip=_number(model, "row_clip"),
        then=plain,
    )


def _second_order(model: dict[Any, Any], privacy: dict[Any, Any], spec: Network) -> SecondOrder:
    rounds = _whole(model, "rounds")
    horizons = _horizons(model)
    return SecondOrder(
        model=spec,
        loss=_loss(model),
        rounds=rounds,
        moments=min(_whole(model, "moments"), rounds),
        clip=_number(privacy, "clip", horizons),
        start_norm=_number(model, "start_norm"),
        base_rate=_number(model, "base_rate"),
        expected_units=_whole(privacy, "expected_units") * horizons,
        **{name: _number(model, name, horizons) for name in ("moment_clip", "target_clip")},
        **{name: _number(model, name) for name in ("learning_rate", "momentum")},
        ridge=_number(model, "ridge", horizons),
    )


def _scaled(model: dict[Any, Any], plain: SecondOrder) -> SecondOrder | Scaled:
    """Return a method that releases as many sums of scales first as are configured, if any."""
    releases = _scales(model)
    if not releases:
        return plain
    if isinstance(plain.model, SequenceSpec):
        raise UsageError(
            "configuration: a network over a series reads weeks relative to their own mean, which "
            "needs no scales; leave model.scales out"
        )
    return Scaled(
        bins=Bins(count=_whole(model, "scale_bins"), reach=_number(model, "scale_reach")),
        releases=releases,
        bound=_number(model, "scale_bound"),
        then=plain,
    )


def _scales(model: dict[Any, Any]) -> int:
    """Return how many sums release scales; 0 where none are configured."""
    scales = _whole(model, "scales") if "scales" in model else 0
    if not 0 <= scales <= MOST_RELEASES:
        raise UsageError(f"configuration: model.scales counts sums, from 0 to {MOST_RELEASES}")
    return scales


def _keys(model: dict[Any, Any]) -> tuple[Key, ...]:
    """Return the keys of a model's statistics: `COLUMN`, or `COLUMN/BUCKETS`."""
    from experiments.ordering import READS, published_contracts

    wanted = [str(text).partition("/") for text in model.get("statistics", [])]
    if not wanted:
        return ()
    contract = published_contracts()[READS[model["name"]]]
    domains = {column.name: column.domain or () for column in contract.columns}
    for column, slash, _ in wanted:
        if not slash and not domains.get(column):
            raise UsageError(
                f"configuration: contract {contract.name} declares no public domain of {column}: "
                f"name a number of buckets, such as {column}/256"
            )
    return tuple(
        Key(column=column, buckets=int(buckets))
        if slash
        else Key(column=column, domain=domains[column])
        for column, slash, buckets in wanted
    )


def _boosting(model: dict[Any, Any]) -> Boosting:
    """Return the boosting of a task, with as many rounds as are configured."""
    from experiments.boosting_recipes import demand_boosting, fraud_boosting

    made = (
        fraud_boosting() if model["name"] == "fraud" else demand_boosting(_whole(model, "window"))
    )
    trees = _whole(model, "tree_rounds")
    return replace(made, effect_rounds=_whole(model, "rounds") - trees, tree_rounds=trees)


def _inputs(model: dict[Any, Any], data: dict[Any, Any]) -> int:
    """Return how many features the installed version computes for a model on a data set."""
    match model["name"], data["name"]:
        case "demand", "stallion":
            from experiments.datasets.stallion import FEATURES

            return len(FEATURES)
        case "fraud", "handbook":
            from experiments.datasets.handbook import features_of

            return len(features_of(data["features"]))
        case "repeat", _:
            from experiments.datasets.cdnow import FEATURES as REPEAT

            return len(REPEAT)
        case "demand", _:
            from clients.training.demand import features_of as demand_features

            return len(
                demand_features(
                    _whole(model, "window"), _horizons(model), series="network" in model
                )
            )
    from clients.training.fraud import FEATURES as FRAUD

    return len(FRAUD)


def _noise(privacy: dict[Any, Any], releases: int) -> Decimal:
    multiplier = accountant.calibrate(
        float(_number(privacy, "sampling_rate")),
        releases,
        float(_number(privacy, "epsilon")),
        float(_number(privacy, "delta")),
    )
    return Decimal(str(multiplier)).normalize()


def _terms(value: dict[Any, Any]) -> Terms:
    cohort = value["cohort"]
    return Terms(
        purpose=value["purpose"],
        legal_basis=value["legal_basis"],
        cohort=tuple(PartyId(party) for party in cohort["parties"]),
        minimum=_whole(cohort, "minimum"),
        hours=_whole(value["approval"], "hours"),
        not_before=_whole(value["schedule"], "not_before"),
    )


def _number(section: Mapping[Any, Any], name: str, times: int = 1) -> Decimal:
    try:
        return (Decimal(str(section[name])) * times).normalize()
    except InvalidOperation as why:
        raise UsageError(f"configuration: {name} is a number, not {section[name]!r}") from why


def _whole(section: Mapping[Any, Any], name: str) -> int:
    number = _number(section, name)
    if not number.is_finite() or number != number.to_integral_value():
        raise UsageError(f"configuration: {name} is a whole number, not {section[name]!r}")
    return int(number)


def _option(section: Mapping[Any, Any], name: str, default: int) -> int:
    return _whole(section, name) if name in section else default


def _first_line(why: Exception) -> str:
    return next((line for line in str(why).splitlines() if line.strip()), type(why).__name__)
