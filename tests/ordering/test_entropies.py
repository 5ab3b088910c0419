"""Roll-outs estimate the entropy of a model whose every probability is known."""

from pathlib import Path

import numpy as np
import pytest

from tenfold.errors import UsageError
from tenfold.ordering.choices.directions import direction_entropies
from tenfold.ordering.choices.items import ChoiceItem
from tenfold.ordering.entropies import Rollouts, reader_entropy, rollout_entropy
from tests.text.test_causal import tiny

FILE = Path(__file__).parent.parent / "fixtures/factorization_order/tiny_joint.npz"


@pytest.fixture(scope="module")
def joint() -> dict[str, np.ndarray]:
    return dict(np.load(FILE))


def reader(joint: dict[str, np.ndarray], backward: bool):  # type: ignore[no-untyped-def]
    """The exact model of the joint that reads left to right, or right to left."""
    table = joint["joint"].transpose(3, 2, 1, 0) if backward else joint["joint"]

    def next_token(rows: np.ndarray) -> np.ndarray:
        size = rows.shape[1]
        seen = table.sum(tuple(range(size + 1, 4)))[tuple(rows.T)]
        return np.log(seen / seen.sum(1, keepdims=True))

    return next_token


@pytest.mark.parametrize(("backward", "name"), [(False, "a_given_q"), (True, "q_given_a")])
def test_both_estimators_are_right_in_the_mean(joint: dict[str, np.ndarray], backward: bool, name: str) -> None:
    table = joint["joint"].transpose(3, 2, 1, 0) if backward else joint["joint"]
    marginal = table.sum((2, 3)).ravel()
    chosen = np.random.default_rng(0).choice(9, 4000, p=marginal)
    contexts = np.stack(np.divmod(chosen, 3), 1).tolist()
    found = rollout_entropy(reader(joint, backward), contexts, length=2, seed=3)
    for values in found:
        mean, error = Rollouts.mean(values)
        assert abs(mean - joint[f"H_{name}"]) < 4 * error
    assert found.surprise.var() == pytest.approx(float(joint[f"mc.var_{name}"]), rel=0.15)
    assert found.path.var() < found.surprise.var()


def test_one_step_is_the_entropy_of_the_next_token(joint: dict[str, np.ndarray]) -> None:
    model = reader(joint, False)
    log_p = model(np.array([[0, 1]]))[0]
    found = rollout_entropy(model, [[0, 1]], length=1, rollouts=5)
    np.testing.assert_allclose(found.path, -(np.exp(log_p) * log_p).sum(), atol=1e-12)
    assert set(found.surprise.ravel().round(9)) <= set((-log_p).round(9))


def test_neither_batches_nor_lengths_change_a_draw(joint: dict[str, np.ndarray]) -> None:
    model = reader(joint, False)
    ragged = [[0, 1], [2], [1, 1], [0]]
    found = rollout_entropy(model, ragged, length=2, rollouts=3)
    first = rollout_entropy(model, ragged[:1], length=2, rollouts=3)
    assert (found.surprise[:1] == first.surprise).all()
    more = rollout_entropy(model, ragged, length=2, rollouts=7)
    assert (more.path[:, :3] == found.path).all()


def test_a_suppressed_token_is_never_drawn() -> None:
    p = np.array([0.5, 0.3, 0.2])

    def model(rows: np.ndarray) -> np.ndarray:
        assert not (rows[:, 1:] == 0).any()
        return np.tile(np.log(p), (len(rows), 1))

    found = rollout_entropy(model, [[0]] * 20, length=10, suppress=0)
    rest = p[1:] / p[1:].sum()
    np.testing.assert_allclose(found.path, -10 * (rest * np.log(rest)).sum())


def test_bad_input(joint: dict[str, np.ndarray]) -> None:
    model = reader(joint, False)
    with pytest.raises(UsageError, match="rollouts is 0"):
        rollout_entropy(model, [[0]], rollouts=0)
    with pytest.raises(UsageError, match="one has no tokens"):
        rollout_entropy(model, [[0], []])
    with pytest.raises(UsageError, match="suppress is 3"):
        rollout_entropy(model, [[0]], length=1, suppress=3)
    with pytest.raises(UsageError, match="add up to nan"):
        rollout_entropy(lambda rows: np.full((len(rows), 3), np.nan), [[0]])
    with pytest.raises(UsageError, match="token 1 is certain"):
        rollout_entropy(lambda rows: np.array([[-np.inf, 0.0]]), [[0]], suppress=1)


def test_the_cache_changes_nothing() -> None:
    model = tiny()
    contexts = [[256, 65, 66, 67], [256], [256, 99, 100], [256, 1, 2, 3]]
    cached = reader_entropy(model, contexts, length=3, rollouts=2, seed=5, suppress=257)
    whole = rollout_entropy(model.next_token, contexts, length=3, rollouts=2, seed=5, suppress=257)
    for mine, theirs in zip(cached, whole, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6)
    with pytest.raises(UsageError, match="tokens more has"):
        reader_entropy(model, contexts, length=model.longest)


@pytest.mark.parametrize("order", ["l2r", "r2l"])
def test_both_directions_of_items(order: str) -> None:
    """Surprise and entropy of the real tokens are those of a model that reads each text from the start."""
    model = tiny(order=order)
    items = [ChoiceItem("Where", ("in", "out"), 1), ChoiceItem("Who is it", ("a", "é"), 1)]
    found = direction_entropies(model, items, length=3, rollouts=2)
    assert [one.what for one in found] == ["answer given question", "question given answer"]
    natural = found[0] if order == "l2r" else found[1]
    texts, given = [[*b"Where", *b" out"], [*b"Who is it", *" é".encode()]], [len(b"Where"), len(b"Who is it")]
    if order == "r2l":
        texts, given = [text[::-1] for text in texts], [len(b" out"), len(" é".encode())]
    surprise, entropy = np.full((2, 3), np.nan), np.full((2, 3), np.nan)
    for i, (text, start) in enumerate(zip(texts, given, strict=True)):
        for step in range(min(3, len(text) - start)):
            log_p = model.next_token(np.array([[256, *text[: start + step]]]))[0]
            surprise[i, step] = -log_p[text[start + step]]
            entropy[i, step] = -(np.exp(log_p) * log_p).sum()
    np.testing.assert_allclose(natural.excess.surprise, np.nanmean(surprise, 0), atol=1e-6)
    np.testing.assert_allclose(natural.excess.entropy, np.nanmean(entropy, 0), atol=1e-6)
    assert natural.excess.items.tolist() == np.isfinite(surprise).sum(0).tolist()
    rows = {row.name: row.value for one in found for row in one.measurements("tiny")}
    assert rows["answer_entropy"] == pytest.approx(Rollouts.mean(found[0].rollouts.surprise)[0])
    assert rows["question_excess_01"] == pytest.approx(found[1].excess.excess[0])
