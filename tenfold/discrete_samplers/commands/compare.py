"""``tenfold compare``: every sampler that fits a lattice, at equal seconds, in one table."""

from __future__ import annotations

from dataclasses import asdict

from tenfold.discrete_samplers.commands.options import CompareOptions
from tenfold.errors import UsageError
from tenfold.reports import console as show
from tenfold.settings.command import CommandParser

SUMMARY = (
    "Run the samplers that fit a periodic lattice, ising or potts, each for as many seconds, and print what they find: "
    "the energy with its error, its distance from the exact value in standard errors, independent draws a second, "
    "log Z."
)
EXAMPLES = """\
  tenfold compare ising --size 10 --beta 0.4407 --seconds 5
  tenfold compare ising --size 24 --samplers gibbs,swendsen-wang --json
  tenfold compare potts --size 8 --states 3 --beta 1.005
  tenfold compare ising --run runs/i,runs/masked --seconds 10
"""


def run_compare(argv: list[str]) -> int:
    """Read a line, compare, print."""
    parser = CommandParser("compare", "ising|potts [options]", SUMMARY, EXAMPLES)
    parser.add_argument("target", metavar="TARGET", help="ising or potts")
    parser.switch("--json", "print JSON")
    parser.add_options(CompareOptions)
    given = parser.parse_args(argv)
    said = parser.peek(argv, ["--json"])[1]
    if given.target not in ("ising", "potts"):
        raise UsageError(f"target is {given.target!r}; choose ising or potts")
    idle = "states" if given.target == "ising" else "field"
    if idle in said:
        raise UsageError(f"{given.target} does not use --{idle}; leave it away")
    options = CompareOptions(**given.options(CompareOptions))

    if options.run and (told := [name for name in ("size", "beta", "field", "states") if name in said]):
        raise UsageError(f"the lattice is that of the runs; leave --{told[0]} away")
    if "apart" in said and not options.run:
        raise UsageError("--apart is for trained jump processes; give one as --run")

    from tenfold.discrete_samplers.comparison import compare
    from tenfold.discrete_samplers.config import Lattice, LatticeFlowConfig
    from tenfold.discrete_samplers.evaluation import bond_energy
    from tenfold.discrete_samplers.model import exact_values, lattice_target
    from tenfold.discrete_samplers.trained import lattice_facts, read_samplers, trained_runs

    models = read_samplers(options.run)
    config: Lattice = models[0].config if models else LatticeFlowConfig(
        target=given.target, height=options.size, width=options.size, beta=options.beta, network="none",
        field=options.field if given.target == "ising" else 0.0,
        states=2 if given.target == "ising" else options.states,
    )  # fmt: skip
    if config.target != given.target:
        raise UsageError(f"{options.run[0]} samples {config.target}; say compare {config.target}")
    exact = exact_values(config)
    with show.busy("compare"):
        rows = compare(
            lattice_target(config),
            lambda x: bond_energy(config, x),
            None if exact is None else exact[1],
            options.seconds,
            options.chains,
            options.samplers,
            seed=options.seed,
            more=trained_runs(models, options.chains, options.apart),
        )
    if given.json:
        known = None if exact is None else {"log_z": exact[0], "energy": exact[1]}
        show.as_json({"target": lattice_facts(config), "exact": known, "rows": [asdict(row) for row in rows]})
        return 0
    from rich.table import Table

    title = f"{config.target} {config.height} x {config.width}, beta {config.beta:g}"
    if exact is not None:
        title += f": exact energy {exact[1]:.4f}, log Z {exact[0]:.4f}"
    table = Table(title=title, title_justify="left")
    for name in (
        "sampler",
        "seconds",
        "work",
        "energy",
        "from exact\ns.e.",
        "draws\na second",
        "log Z",
        "target calls",
    ):
        table.add_column(name, justify="left" if name == "sampler" else "right")
    for row in rows:
        log_z = "" if row.log_z is None else f"{row.log_z:.3f}"
        if row.log_z_error is not None:
            log_z += f" ± {row.log_z_error:.3f}"
        table.add_row(
            row.sampler + (" *" if row.notes else ""), f"{row.seconds:.1f}", f"{row.work}",
            f"{row.mean:.3f} ± {row.error:.3f}", "" if row.bias is None else f"{row.bias:+.1f}",
            f"{row.draws_per_second:.3g}", log_z, f"{row.target_calls:.3g}",
        )  # fmt: skip
    show.console().print(table)
    for row in rows:
        for note in row.notes:
            print(f"* {row.sampler}: {note}")
    return 0
