"""The benchmark of discrete samplers: the re-creation has the reference's numbers, and every record is emitted."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from benchmarks import discrete_samplers
from benchmarks import reference_discrete_samplers as reference
from benchmarks.harness import Record
from tenfold.discrete_samplers.exact.lattice import ising_lattice
from tenfold.discrete_samplers.networks.published import read_transformer
from tenfold.discrete_samplers.targets.binary import Ising


def test_the_re_creation_is_the_reference(fixtures: Path) -> None:
    for name in ("a", "b"):
        data = load_file(fixtures / "discrete_samplers" / f"letf_{name}.safetensors")
        network = read_transformer({k.removeprefix("weights."): v for k, v in data.items() if k.startswith("weights.")})
        with torch.no_grad():
            found = reference.ReferenceTransformer(network)(data["x"], data["t"])
        torch.testing.assert_close(found, data["G"], rtol=1e-4, atol=1e-4)


def test_the_other_samplers_are_right() -> None:
    unit, exact = Ising(4, 4, 1.0), ising_lattice(4, 4, 0.3).energy
    start = torch.randint(2, (100, 4, 4)).float() * 2 - 1
    for spins in (reference.rolled_gibbs(4, 0.3, 1500, 30), reference.looped_swendsen_wang(start, 0.3, 12)):
        energy = -unit.log_prob(((spins + 1) / 2).long().flatten(1)).double()
        assert abs(float(energy.mean()) - exact) < 4 * float(energy.std() / len(energy) ** 0.5)


def test_all_records() -> None:
    records: list[Record] = []
    discrete_samplers.benchmarks(True, records.append)
    found = {record.name: record for record in records}
    assert {"letf-forward", "letf-epoch", "sampling-weights", "gibbs-bitpacked", "swendsen-wang"} <= set(found)
    assert (found["letf-forward"].max_error or 0) < 1e-4
    assert abs(found["gibbs-bitpacked"].details["gap_in_errors"]) < 12
    assert all(record.ours > 0 and record.other > 0 for record in records)
