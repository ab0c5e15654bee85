"""The coordinate check tells right muP from what is commonly wrong; on small models and few steps, with fixed seeds."""

import csv
import functools
import math
import subprocess
import sys

import mup
import pytest
import torch
from torch import nn

import muattn.torch
from muattn.coord_check.fits import NO_FIT, Fit, fit, t_quantile
from muattn.coord_check.program import Check, checks_of, table
from muattn.coord_check.verdicts import WHY, judge
from muattn.proving import data
from muattn.torch import coord_check, record_logits, set_base

WIDTHS = (32, 64, 128, 256)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small models: threads wait for each other longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@functools.cache
def result(operation, rule, **setting):
    [check] = checks_of(operation, [rule], **{"widths": WIDTHS, **setting})
    return check.perform(lambda done, total: None)


def kinds(found):
    return [finding.kind for finding in found.findings]


def late(found, quantity="logits"):
    return found.fits[quantity, "late"].slope


OUTPUTS = ("attention output", "block output", "network output")


def test_mup_is_stable():
    found = result("spatial", "mup")
    assert found.stable and not found.findings and set(found.verdict) == {"logits", *OUTPUTS}
    assert found.fits["logits", 1].slope == pytest.approx(-0.5, abs=0.1)  # queries and keys know nothing of each other


def test_standard_parametrization_grows():
    found = result("spatial", "sp")
    assert found.verdict["logits"] == found.verdict["network output"] == "grows" and not found.stable
    assert late(found) > late(result("spatial", "mup")) + 0.7
    assert kinds(found) == ["scale"] and "standard parametrization" in found.findings[0].message


def test_a_square_root_that_is_left_in_is_seen_in_the_logits_alone():
    found, right = result("spatial", "mup_sqrt"), result("spatial", "mup")
    assert found.verdict == {"logits": "grows", **dict.fromkeys(OUTPUTS, "stable")} and not found.stable
    assert late(found) > late(right) + 0.3 and all(abs(late(found, name) - late(right, name)) < 0.1 for name in OUTPUTS)
    [finding] = found.findings
    assert finding.kind == "scale" and finding.wrong and "1/sqrt(d) is left in" in finding.message
    assert finding.modules == ("blocks.0.attention", "blocks.1.attention")


def test_heads_grow():
    found = result("spatial", "mup_heads")
    assert found.stable and not found.findings
    wrong = result("spatial", "mup_heads", grow="head_dim")  # the rule for another way to grow is 1/sqrt(d) left in
    assert wrong.verdict["logits"] == "grows" and kinds(wrong) == ["scale"] and not wrong.stable


def test_channel_attention():
    assert result("channel", "mup_mean").stable
    found = result("channel", "mup")
    assert found.verdict["attention output"] == "vanishes" and kinds(found) == ["channel_mean"]
    assert found.fits["attention output", 1].slope == pytest.approx(-1.5, abs=0.15)
    assert found.fits["attention output", "late"].high < result("channel", "mup_mean").fits["attention output", "late"].low
    assert result("channel", "sp").verdict["logits"] == "grows"


def spatial_models(change, rule="mup", widths=WIDTHS):
    """change(model, base): after mup's and muattn's base shapes are set."""
    check = Check("spatial", rule)

    def make(width):
        model = check.model(width)
        change(model, check.model(check.base_width))
        return model

    return {width: functools.partial(make, width) for width in widths}


def shortened(models, **options):
    check = Check("spatial", "mup")
    return coord_check(models, check.batches, lr=check.lr, nsteps=options.pop("nsteps", 8), nseeds=options.pop("nseeds", 1), **options)


def test_base_that_is_the_model_itself():
    found = shortened(spatial_models(lambda model, base: set_base(model, model)), nseeds=2)
    assert kinds(found) == ["d_base"] and "not the model itself" in found.findings[0].message and found.findings[0].wrong and not found.stable


@pytest.mark.parametrize("d_base, factor", [(None, "0.177"), (8, "0.5"), (128, "2")])
def test_wrong_d_base(d_base, factor):
    def change(model, base):
        for block in model.blocks:
            block.attention.d_base = d_base

    found = shortened(spatial_models(change, widths=WIDTHS[:2]), nsteps=2)
    [finding] = found.findings
    assert finding.kind == "d_base" and f"is {factor} times sqrt(d_base)/d" in finding.message and "d_base is 32" in finding.message


class Scaled(nn.Module):
    """Attention of one's own, with any scale and norms of queries and keys."""

    def __init__(self, width, heads=4, scale=lambda d: 1 / d, norms=True, applied=True):
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        d = width // heads
        self.q_norm, self.k_norm = (nn.LayerNorm(d, elementwise_affine=False), nn.RMSNorm(d, elementwise_affine=False)) if norms else (None, None)
        self.heads, self.applied, self.scale = heads, applied, scale(d)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.q_norm is not None and self.applied:
            q, k = self.q_norm(q), self.k_norm(k)
        return self.proj(muattn.torch.spatial_attention(q, k, v, scale=self.scale).transpose(1, 2).flatten(2))


class Own(nn.Module):
    def __init__(self, width, last_layer=mup.MuReadout, **options):
        super().__init__()
        self.input, self.layers, self.head = nn.Linear(4, width), nn.ModuleList([Scaled(width, **options) for _ in range(2)]), last_layer(width, 10)

    def forward(self, x):
        x = self.input(x)
        for layer in self.layers:
            x = x + layer(x)
        return self.head(x.mean(1))


def own_models(widths=(32, 64), is_mup=True, **options):
    def make(width):
        if not is_mup:
            return Own(width, nn.Linear, **options)
        model = Own(width, **options)
        return mup.set_base_shapes(model, Own(32, **options), delta=Own(64, **options))

    return {width: functools.partial(make, width) for width in widths}


def digits(batch=16):
    patches, labels = data.digits()
    return [(patches[:batch], labels[:batch])]


def test_norms_that_are_never_applied():
    options = {"scale": lambda d: 0.5, "is_mup": False}
    idle = coord_check(own_models(applied=False, **options), digits(), nsteps=2, nseeds=1)
    [norms, scale] = sorted(idle.findings, key=lambda finding: finding.kind)
    assert norms.kind == "qk_norm" and scale.kind == "scale" and "does not depend on d" in scale.message
    assert "nothing calls q_norm, k_norm" in norms.message and norms.modules == ("layers.0", "layers.1")
    applied = coord_check(own_models(**options), digits(), nsteps=2, nseeds=1, max_logit=0.5 * 16)
    assert "qk_norm" not in kinds(applied) and "logit_bound" not in kinds(applied)
    assert "logit_bound" in kinds(coord_check(own_models(applied=False, **options), digits(), nsteps=2, nseeds=1, max_logit=1e-3))


@pytest.mark.parametrize(
    "scale, message",
    [
        (lambda d: 1 / d, "0.354 times sqrt(d_base)/d, where mup's base shapes say that d_base is 8"),
        (lambda d: 3 * 8**0.5 / d, "3 times sqrt(d_base)/d"),
        (lambda d: d**-1.5, "the scale goes as d^-1.50: right if that power is meant"),
        (lambda d: d**-0.5, "1/sqrt(d) is left in"),
        (lambda d: 8**0.5 / d, None),
        (lambda d: [1.0, 2.0, 3.0, d / 8], "the scale goes as d^0.25"),
    ],
)
def test_scales(scale, message):
    found = coord_check(own_models(norms=False, scale=scale), digits(), nsteps=2, nseeds=1).findings
    assert [message in finding.message for finding in found] == ([] if message is None else [True])


def test_attention_that_nobody_sees():
    """As where enable_sdpa() was not called: other verdicts must not stand for it."""
    models = {width: functools.partial(lambda w: nn.Sequential(nn.Flatten(), nn.Linear(64, w), nn.Linear(w, 10)), width) for width in (32, 64)}
    found = coord_check(models, digits(), nsteps=2, nseeds=1)
    assert kinds(found) == ["not_seen"] and "at width 32, 64" in found.findings[0].message and "not_seen" in str(found)


def test_norms_that_layers_share():
    class Shared(Own):
        def __init__(self, width, *rest):
            super().__init__(width, *rest)
            self.layers[1].q_norm, self.layers[1].k_norm = self.layers[0].q_norm, self.layers[0].k_norm

    models = {width: functools.partial(Shared, width, nn.Linear) for width in (32, 64)}
    assert "qk_norm" not in kinds(coord_check(models, digits(), nsteps=2, nseeds=1))


def test_rows_are_mups(tmp_path):
    found = result("spatial", "mup")
    path = tmp_path / "rows.csv"
    found.save_csv(path, rule="mup")
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:4] == ["width", "module", "t", "l1"] and len(rows) == len(found.rows) and rows[0]["rule"] == "mup"
    per_step = {"blocks.0.attention:logits", "blocks.0.attention:attention", "blocks.0.attention.qkv", "blocks.1", "", "output"}
    assert per_step <= {row["module"] for row in rows}
    assert {row["quantity"] for row in rows} == {"logits", "attention output", "block output", "network output", "module output"}
    assert {row["module"] for row in rows if row["quantity"] == "block output"} == {"blocks.0", "blocks.1"}
    assert {row["module"] for row in rows if row["quantity"] == "network output"} == {""}

    pandas = pytest.importorskip("pandas")
    import matplotlib

    matplotlib.use("Agg")
    from mup.coord_check import plot_coord_data

    frame = pandas.read_csv(path)
    frame = frame[frame.t <= 3]
    figure = plot_coord_data(frame, name_contains="logits", save_to=str(tmp_path / "mup.png"))
    assert len(figure.axes) == 3 and (tmp_path / "mup.png").stat().st_size > 0
    matplotlib.pyplot.close(figure)
    assert found.frame().columns.tolist()[:4] == ["width", "module", "t", "l1"]


def test_sizes_are_mups():
    """Of one model and batch, module by module, against mup.coord_check itself."""
    from mup.coord_check import get_coord_data

    models = own_models((32,), is_mup=False, norms=False)
    theirs = get_coord_data(models, digits(), mup=False, optimizer="adam", lr=1e-2, nsteps=3, cuda=False, show_progress=False)
    ours = coord_check(own_models((32, 64), is_mup=False, norms=False), digits(), lr=1e-2, nsteps=3, nseeds=1).frame()
    ours = ours[(ours.width == 32) & ~ours.module.str.contains(":")]
    assert ours.module.tolist() == theirs.module.tolist() and ours.t.tolist() == theirs.t.tolist()
    torch.testing.assert_close(torch.tensor(ours.l1.to_numpy()), torch.tensor(theirs.l1.to_numpy()), rtol=1e-3, atol=1e-5)


def test_picture(tmp_path):
    result("spatial", "sp").plot(tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes()[1:4] == b"PNG"


def test_the_same_numbers_each_time_and_nothing_left_behind():
    state = torch.get_rng_state()
    a, b = (coord_check(own_models(), digits(), nsteps=3, nseeds=2) for _ in range(2))
    assert a.rows == b.rows and torch.equal(state, torch.get_rng_state())
    assert muattn._torch.recorder is None
    assert {row["l1"] for row in a.rows if row["seed"] == 0} != {row["l1"] for row in a.rows if row["seed"] == 1}


def test_batches_of_each_seed():
    """A function of the seed is asked once for each, with the random numbers of that seed: models of all widths see the same."""
    patches, labels = data.digits()
    asked, seen, state = [], [], torch.get_rng_state()

    def batches(seed):
        asked.append(seed)
        while True:
            chosen = torch.randint(len(labels), (4,))
            yield patches[chosen], labels[chosen]

    def loss(model, batch):
        seen.append(batch[1].tolist())
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    a, b = (coord_check(own_models(), batches, nsteps=2, nseeds=2, loss=loss) for _ in range(2))
    assert asked == [0, 1, 0, 1] and a.rows == b.rows and torch.equal(state, torch.get_rng_state())
    narrow, wide, other = seen[:2], seen[2:4], seen[4:6]
    assert narrow == wide and all(x != y for x, y in zip([narrow[0], *narrow], [narrow[1], *other]))


def test_dicts_of_transformers():
    transformers = pytest.importorskip("transformers")
    muattn.torch.transformers.register()

    def make(width):
        config = transformers.LlamaConfig(
            vocab_size=61, hidden_size=width, intermediate_size=width, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
        )  # fmt: skip
        return transformers.AutoModelForCausalLM.from_config(config, attn_implementation="muattn")

    tokens = torch.arange(18).reshape(2, 9)
    steps = []
    found = coord_check(
        {width: functools.partial(make, width) for width in (16, 32)}, [{"input_ids": tokens, "labels": tokens}], nsteps=3, nseeds=1,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1), progress=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(i, 6) for i in range(1, 7)]
    of = {row["quantity"]: set() for row in found.rows}
    for row in found.rows:
        of[row["quantity"]].add(row["module"])
    assert of["logits"] == {f"model.layers.{i}.self_attn:logits" for i in (0, 1)}
    assert of["network output"] == {":out[logits]"} and of["block output"] == {"model.layers.0", "model.layers.1"}
    assert kinds(found) == ["scale"]


def test_optimizers_are_mups_where_the_model_is(monkeypatch):
    made = []
    for place, name in ((mup, "MuSGD"), (mup, "MuAdamW"), (torch.optim, "SGD"), (torch.optim, "AdamW")):
        monkeypatch.setattr(place, name, lambda *a, name=name, real=getattr(place, name), **k: made.append((name, k["lr"])) or real(*a, **k))
    for is_mup in (True, False):
        for name in ("sgd", "adamw"):
            made.clear()
            coord_check(own_models(is_mup=is_mup), digits(), optimizer=name, nsteps=2, nseeds=1)
            prefix, rate = ("Mu" if is_mup else ""), (0.1 if name == "sgd" else 2**-8)
            assert made[0] == (f"{prefix}{'SGD' if name == 'sgd' else 'AdamW'}", rate)


BAD = {
    "models must be a dict": {"models": [1]},
    "at least two widths": {"models": {32: lambda: None}},
    "nsteps must be an integer of at least 2": {"nsteps": 1},
    "nseeds must be an integer of at least 1": {"nseeds": 0},
    "optimizer must be one of 'sgd', 'adam', 'adamw'": {"optimizer": "lion"},
    "lr is that of an optimizer by name": {"optimizer": torch.optim.SGD, "lr": 0.1},
    "batches is empty": {"batches": []},
    r"batches\(0\) is empty": {"batches": lambda seed: []},
    r"batches\(0\) must be an iterable of batches, not int": {"batches": lambda seed: seed},
    "batches must be an iterable of batches, not int": {"batches": 3},
    "batches must be": {"batches": [(1, 2, 3)]},
    "block must be": {"block": "blocks"},
    "max_logit must be": {"max_logit": 0},
    "models must not be compiled": {"models": {width: lambda: torch.compile(nn.Linear(4, 4)) for width in (32, 64)}},
    "loss must call the model itself: '0.layers.0'": {"loss": lambda model, batch: nn.Sequential(model)(batch[0]).square().mean()},
    "the model's output has no loss": {"batches": [{"x": torch.randn(2, 3, 4)}]},
}


@pytest.mark.parametrize("message, change", BAD.items(), ids=list(BAD))
def test_errors(message, change):
    arguments = {"models": own_models(), "batches": digits(), **change}
    with pytest.raises((ValueError, TypeError), match=message):
        coord_check(arguments.pop("models"), arguments.pop("batches"), **arguments)


def test_t_quantile():
    for freedom, expected in ((1, 12.7062), (2, 4.30265), (5, 2.57058), (30, 2.04227), (1000, 1.96234)):
        assert t_quantile(freedom) == pytest.approx(expected, rel=1e-5)


def test_fit():
    widths = (32, 64, 128, 256)
    exact = fit(widths, [[3 * w**0.7 for w in widths], [5 * w**0.7 for w in widths]])  # each seed has its own constant
    assert exact.slope == pytest.approx(0.7) and exact.margin == pytest.approx(0, abs=1e-9)
    assert math.isnan(fit(widths, [[1, 2, 0, 4]]).slope) and math.isnan(fit(widths, [[1, 2, math.inf, 4]]).slope)
    one = fit(widths, [[1, 2, 4, 9]])
    assert one.slope == pytest.approx(1, abs=0.1) and math.isnan(one.margin)


@pytest.mark.parametrize("spread", [0, 0.2])
def test_intervals_hold_the_slope(spread):
    """Whether seeds differ by the noise of each model alone, or by slopes of their own too."""
    widths, generator = torch.tensor(WIDTHS, dtype=torch.float64), torch.Generator().manual_seed(0)
    random = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    held = 0
    for _ in range(400):
        logs = random(3, 1) + (0.3 + spread * random(3, 1)) * widths.log() + 0.2 * random(3, 4)
        found = fit(WIDTHS, logs.exp().numpy())
        held += found.low < 0.3 < found.high
    assert 0.92 <= held / 400 <= 0.98


def slope(value, margin=0.1):
    return Fit(value, value - margin, value + margin)


@pytest.mark.parametrize(
    "first, late, expected",
    [
        (slope(0), slope(0.1, 0.3), "stable"), (slope(-0.5), slope(-0.15), "stable"), (NO_FIT, slope(0), "stable"),
        (slope(0), slope(0.1, 0.45), "not clear"), (slope(0), slope(0.3), "grows"), (slope(0), slope(0.3, 0.4), "not clear"), (NO_FIT, slope(1.2, 0.9), "grows"),
        (slope(0), slope(-0.4), "vanishes"), (slope(0), slope(-0.25, 0.2), "not clear"), (slope(-0.5), slope(-0.45), "not clear"), (slope(-0.5), slope(-0.9), "vanishes"),
        (slope(-1.3), slope(-0.66), "vanishes"), (slope(-1.5), slope(-0.4, 0.5), "not clear"), (slope(0), NO_FIT, "not clear"),
    ],
)  # fmt: skip
def test_verdict(first, late, expected):
    found, unclear = judge(first, late)
    assert found == expected and bool(unclear) == (expected == "not clear")
    assert judge(first, late, finite=False)[0] == "grows"
    assert judge(first, late, change=1.9)[0] == "not clear" and judge(first, late, change=2.1) == (found, unclear)


def test_why_it_is_not_clear():
    assert "more seeds" in judge(slope(0), slope(0.1, 0.45))[1] and "training" not in judge(slope(0), slope(0.1, 0.45))[1]
    assert "training has not taken over" in judge(slope(-0.5), slope(-0.45))[1]
    assert "training has not taken over" in judge(slope(0), slope(0), change=1.1)[1]
    assert "one seed" in judge(slope(0), NO_FIT)[1]


def test_a_model_that_blows_up_grows():
    found = coord_check(own_models((32, 64, 128), is_mup=False, norms=False), digits(), optimizer="sgd", lr=1e12, nsteps=6, nseeds=1)
    assert "grows" in found.verdict.values() and not found.stable


def test_modules_that_are_left_out_have_not_grown():
    rows = [
        {"width": width, "module": "", "t": t, "l1": 1.0, "seed": seed, "quantity": "logits"}
        for width in WIDTHS for t in range(1, 9) for seed in range(2) if (width, t, seed) != (64, 8, 1)
    ]  # fmt: skip
    assert muattn.torch.CoordCheck(rows, {}, 0.0, None).verdict == {"logits": "not clear"}
    assert muattn.torch.CoordCheck([{**row, "l1": math.nan} for row in rows], {}, 0.0, None).verdict == {"logits": "grows"}


class TestOracles:
    """Slopes that are known without training, of independent numbers from N(0, 1): d from 32 to 512, the kernels' own statistics."""

    DS = (32, 64, 128, 256, 512)

    def slopes(self, call, n):
        """Of logits and output. call(q, k, v, d)."""
        sizes = []
        for seed in range(2):
            torch.manual_seed(seed)
            found = []
            for d in self.DS:
                with record_logits() as record:
                    call(*torch.randn(3, 16, 2, n, d), d)
                found.append((record.calls[0].stats.mean_abs.mean().item(), record.calls[0].output.mean().item()))
            sizes.append(found)
        return [fit(self.DS, [[cell[part] for cell in row] for row in sizes]).slope for part in (0, 1)]

    @pytest.mark.parametrize("scaling, independent, same", [("sp", 0, 0.5), ("mup", -0.5, 0)])
    def test_spatial(self, scaling, independent, same):
        options = {"scaling": scaling, "d_base": 32 if scaling == "mup" else None}
        logits, _ = self.slopes(lambda q, k, v, d: muattn.torch.spatial_attention(q, k, v, **options), 32)
        assert logits == pytest.approx(independent, abs=0.05)
        diagonal, _ = self.slopes(lambda q, k, v, d: muattn.torch.spatial_attention(q, q, v, **options), 1)
        assert diagonal == pytest.approx(same, abs=0.05)

    @pytest.mark.parametrize("scaling, multiplier", [("mup_mean", 0), ("mup", -1)])
    def test_channel(self, scaling, multiplier):
        options = {"scaling": scaling, "d_base": 32 if scaling == "mup" else None}
        logits, output = self.slopes(lambda q, k, v, d: muattn.torch.channel_attention(q, k, v, **options), 32)
        assert logits == pytest.approx(0, abs=0.05) and output == pytest.approx(-0.5 + multiplier, abs=0.05)
        _, of_mean = self.slopes(lambda q, k, v, d: muattn.torch.channel_attention(q, k, v + 1, **options), 32)
        assert of_mean == pytest.approx(multiplier, abs=0.05)


def program(*words, cwd):
    return subprocess.run([sys.executable, "-m", "muattn.coord_check", *words], cwd=cwd, capture_output=True, text=True, timeout=120)


FEW = ("--widths", "32,64", "--seeds", "1", "--steps", "2", "--threads", "1")


def test_program(tmp_path):
    found = program("--rule", "sp,mup_mean", "--operation", "channel", *FEW, "--out", "here/there", cwd=tmp_path)
    assert found.returncode == 1, found.stderr  # two widths, one seed: nothing is clear
    for name in ("coord-check-channel-sp.csv", "coord-check-channel-mup_mean.csv", "coord-check-channel.png"):
        assert f"here/there/{name}" in found.stdout and (tmp_path / "here/there" / name).stat().st_size > 1000
    assert "not everything is stable" in found.stdout and "not clear" in found.stdout
    assert "mup_mean   head_dim  logits" in found.stdout and "coord-check:" in found.stderr


def test_before_training_has_taken_over_no_rule_is_right():
    """Logits are those of initialisation: flat with 1/sqrt(d), falling with 1/d."""
    for rule in ("mup", "mup_sqrt"):
        found = result("spatial", rule, lr=2**-14, steps=4)
        assert found.verdict["logits"] == "not clear" and not found.stable


def test_u_mup():
    found = result("spatial", "umup")
    assert abs(found.fits["logits", 1].slope + 0.5) < 0.1  # of 1/d, and independent queries and keys
    assert found.stable


def test_interrupted(tmp_path, monkeypatch, capsys):
    """What was finished is there."""
    from muattn.coord_check import __main__, program as checks

    def perform(self, progress):
        if self.rule == "mup_sqrt":
            raise KeyboardInterrupt
        return result("spatial", "mup")

    known = result("spatial", "mup")  # before perform() is another
    assert known
    monkeypatch.setattr(checks.Check, "perform", perform)
    assert __main__.main(["--operation", "spatial", "--rule", "mup,mup_sqrt", "--quick", "--out", str(tmp_path)]) == 130
    assert "interrupted; written:" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["coord-check-spatial-mup.csv"]


def test_exit_codes(tmp_path, monkeypatch, capsys):
    from muattn.coord_check import __main__, program as checks

    known = {rule: result("channel", rule) for rule in ("mup_mean", "sp")}  # before perform() is another
    monkeypatch.setattr(checks.Check, "perform", lambda self, progress: known[self.rule])
    for rule, code in (("mup_mean", 0), ("sp", 1), ("mup_mean,sp", 1)):
        assert __main__.main(["--operation", "channel", "--rule", rule, "--quick", "--out", str(tmp_path)]) == code
    out = capsys.readouterr().out
    assert "everything is stable" in out and "not everything is stable" in out
    assert all(sentence in out for sentence in (WHY["logits", "grows"], WHY["logits", "stable"]))


@pytest.mark.parametrize(
    "words, message",
    [
        (["--rule", "nothing"], "rule of spatial and channel attention must be one of sp, mup, mup_sqrt, mup_mean,"),
        (["--operation", "channel", "--rule", "mup_sqrt"], "rule of channel attention must be one of sp, mup, mup_mean"),
        (["--widths", "32"], "at least two widths"),
        (["--widths", "33,64"], "width (33) must be a multiple of 4"),
        (["--rule", "mup_heads", "--widths", "36,64"], "width (36) must be a multiple of 8"),
        (["--steps", "1"], "whole number from 2"),
        (["--seeds", "none"], "whole number from 1"),
        (["--grow", "depth"], "invalid choice"),
        (["--rule", "mup", "--out", "taken/folder"], "taken"),
        (["--ru", "mup"], "unrecognized"),
    ],
)  # fmt: skip
def test_refusals(words, message, tmp_path, monkeypatch, capsys):
    from muattn.coord_check import __main__

    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").touch()
    with pytest.raises(SystemExit) as stop:
        __main__.main(words)
    error = capsys.readouterr().err
    assert stop.value.code == 2 and message in error and error.startswith("coord-check: ") and error.count("\n") == 1


@pytest.mark.parametrize("package, module", [("torch", "torch"), ("mup", "mup"), ("scikit-learn", "sklearn"), ("matplotlib", "matplotlib")])
def test_missing_packages(package, module, tmp_path):
    code = (
        "import importlib.util, sys; real = importlib.util.find_spec\n"
        f"importlib.util.find_spec = lambda name, *rest: None if name == {module!r} else real(name, *rest)\n"
        "from muattn.coord_check.__main__ import main; main([])"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert found.returncode == 2 and found.stderr == f"coord-check: this needs packages that are not installed: pip install {package}\n"


def test_table_has_every_quantity():
    found = table({Check("spatial", "mup"): result("spatial", "mup"), Check("channel", "mup"): result("channel", "mup")})
    assert found.count("attention output") == 2 and "vanishes" in found and "channel_mean:" in found
