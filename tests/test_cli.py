"""Flags, files and presets become one configuration, or one sentence."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import typing
from pathlib import Path

import pytest
import yaml

from evojax_prune.cli import flags as cli
from evojax_prune.core import protocol
from evojax_prune.core.errors import UserError
from evojax_prune.core.mode import MODES, ModeName
from evojax_prune.report.writers import settings_text
from evojax_prune.run import config
from evojax_prune.run.config import RunConfig


def refusal(*args: str) -> str:
    with pytest.raises(UserError) as caught:
        cli.parse(args)
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def test_defaults_need_no_flags() -> None:
    assert cli.parse([]) == RunConfig()


def test_a_flag_wins_over_the_file_and_the_file_over_the_preset(file: Path) -> None:
    file.write_text("protocol: paper\npopulation: 12\nseed: 3\nsearch_protocol: {epochs: 7}\n")
    parsed = cli.parse(["--config", str(file), "--seed", "4", "--search-protocol.batch-size", "8"])
    assert parsed.strategy == "steady-state"
    assert (parsed.population, parsed.seed) == (12, 4)
    assert parsed.search_protocol.epochs == 7
    assert parsed.search_protocol.batch_size == 8
    assert parsed.search_protocol.learning_rate == protocol.PAPER.learning_rate


def test_a_switch_can_be_turned_off_again(file: Path) -> None:
    file.write_text("skip_unreadable: true\nfinal_protocol: {nesterov: false}\n")
    assert cli.parse(["--config", str(file)]).skip_unreadable
    parsed = cli.parse(["--config", str(file), "--no-skip-unreadable", "--final-protocol.nesterov"])
    assert not parsed.skip_unreadable
    assert parsed.final_protocol.nesterov


@pytest.mark.parametrize("word", ["'false'", "'no'", "off"])
def test_a_switch_in_a_file_may_be_a_word(file: Path, word: str) -> None:
    file.write_text(f"compare: {word}\nfinal_protocol: {{nesterov: {word}}}\n")
    parsed = cli.parse(["--config", str(file)])
    assert not parsed.compare
    assert not parsed.final_protocol.nesterov


def test_a_switch_in_a_file_is_judged_like_any_value(file: Path) -> None:
    file.write_text("compare: 3\n")
    assert "compare is 3, expected true or false" in refusal("--config", str(file))


def test_a_preset_holds_from_python_too() -> None:
    made = RunConfig(protocol="paper", mode="both", population=7)
    assert made == cli.parse(["--protocol", "paper", "--mode", "both", "--population", "7"])


@pytest.mark.parametrize(("mode", "evaluations"), [("features", 200), ("fc1", 200), ("both", 300)])
def test_the_paper_preset_is_the_reference(mode: str, evaluations: int) -> None:
    parsed = cli.parse(["--protocol", "paper", "--mode", mode])
    assert (parsed.population, parsed.evaluations) == (30, evaluations)
    assert parsed.selection == "test"
    assert parsed.search_protocol == parsed.final_protocol == protocol.PAPER


def test_options_of_an_evosax_algorithm(file: Path) -> None:
    file.write_text("strategy_options: {std: 2}\n")
    assert cli.parse(["--config", str(file)]).strategy_options == {"std": 2}
    parsed = cli.parse(["--config", str(file), "--strategy-options", "std=3", "lr=1e-2"])
    assert parsed.strategy_options == {"std": 3, "lr": 0.01}
    assert cli.parse(["--elitism", "true", "--density", "0.3", "0.7"]).elitism


def test_lists_and_underscores() -> None:
    parsed = cli.parse(["--hidden", "64", "32", "--search_protocol.learning_rate", "1e-1"])
    assert parsed.hidden == (64, 32)
    assert parsed.search_protocol.learning_rate == 0.1


def test_what_is_written_repeats_the_run(file: Path) -> None:
    parsed = cli.parse(
        [
            "--mode",
            "both",
            "--hidden",
            "8",
            "9",
            "--groups",
            r"(train|test)/.*?(\d\d)",
            "--seed",
            "7",
        ]
    )
    file.write_text(settings_text(parsed.repeatable()))
    assert cli.parse(["--config", str(file)]) == parsed


def test_paths_are_written_so_that_they_hold_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    parsed = cli.parse(["--dataset", "images", "--data-dir", "tfds"])
    settings = yaml.safe_load(settings_text(parsed.repeatable()))
    assert settings["dataset"] == str(tmp_path / "images")
    assert settings["data_dir"] == str(tmp_path / "tfds")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--popultion", "3"], ["--popultion", "did you mean '--population'", "--backbone"]),
        (
            ["--search-protocol.epoch", "3"],
            ["--search-protocol.epoch", "--search-protocol.{epochs"],
        ),
        (["--mode", "fc3"], ["mode is fc3", "'features', 'fc1', 'fc2' or 'both'"]),
        (["--selection", "tset"], ["selection is tset", "'holdout'"]),
        (["--protocol", "papr"], ["protocol is papr", "'paper'"]),
        (["--population", "1"], ["population is 1", "at least 2"]),
        (["--population", "ten"], ["population is ten", "whole number"]),
        (["--population", "50", "--evaluations", "30"], ["evaluations is 30", "population 50"]),
        (["--seed", "-1"], ["seed is -1", "at least 0"]),
        (["--hidden", "5", "x"], ["hidden is x", "whole number"]),
        (["--size-penalty", "nan"], ["size_penalty is nan"]),
        (["--search-protocol.momentum", "1"], ["search_protocol.momentum is 1", "less than 1"]),
        (["--density", "0.7", "0.3"], ["density is 0.7 0.3", "lower number first"]),
        (["--density", "0.7"], ["density", "two numbers"]),
        (["--density", "0.7", "1.5"], ["density is 1.5", "at most 1"]),
        (["--strategy-options", "std"], ["strategy_options is std", "NAME=VALUE"]),
        (["--strategy-options", "std=x"], ["strategy_options.std is x", "number"]),
        (["--population"], ["--population has no value"]),
        (["stray"], ["stray"]),
        (["--config", "nowhere.yaml"], ["nowhere.yaml", "No such file"]),
    ],
)
def test_a_wrong_flag_is_refused_by_name(args: list[str], said: list[str]) -> None:
    message = refusal(*args)
    assert "\n" not in message
    for part in said:
        assert part in message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("popultion: 3", ["'popultion'", "did you mean 'population'?", "backbone"]),
        ("final_protocol: {epoch: 3}", ["'epoch'", "did you mean 'epochs'?"]),
        ("final_protocol: 3", ["final_protocol", "epochs"]),
        ("population: [1, 2]", ["population", "[1, 2]"]),
        ("mode: fc3", ["mode is fc3"]),
        ("- a\n- b", ["list", "key: value"]),
        ("a: [", ["not valid YAML"]),
        ("hidden: 12", ["hidden is 12"]),
        ("1: 2", ["1"]),
    ],
)
def test_a_wrong_file_is_refused_by_name(file: Path, text: str, said: list[str]) -> None:
    file.write_text(text)
    message = refusal("--config", str(file))
    assert "\n" not in message
    for part in said:
        assert part in message


def test_an_empty_file_changes_nothing(file: Path) -> None:
    file.write_text("# nothing yet\n")
    assert cli.parse(["--config", str(file)]) == RunConfig()


def test_help_is_quick_grouped_and_complete() -> None:
    """Within 2 seconds, without JAX; every option with its default."""
    program = (
        "import sys; from evojax_prune.cli.main import main\n"
        "try: main(['--help'])\n"
        "finally: assert not {'jax', 'flax', 'keras', 'sklearn'} & sys.modules.keys()"
    )
    plain = {key: value for key, value in os.environ.items() if not key.startswith("COVERAGE")}
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=plain
    )
    after = os.times()
    # Processor time, since the tests may share the machine.
    assert sum(after[2:4]) - sum(before[2:4]) < 2
    for group in config.GROUPS:
        assert " ".join((group.__doc__ or "").split()[:4]) in done.stdout
    for name, field in RunConfig.model_fields.items():
        if not isinstance(field.default, protocol.Protocol):
            assert f"--{name.replace('_', '-')}" in done.stdout
    assert done.stdout.count("(default: ") >= len(RunConfig.model_fields)
    assert "nats" in done.stdout


def test_a_partly_given_protocol_is_completed() -> None:
    made = RunConfig(search_protocol={"epochs": 7}, final_protocol={"epochs": 9})
    assert made.search_protocol == dataclasses.replace(protocol.SEARCH, epochs=7, steps=0)
    assert made.final_protocol == dataclasses.replace(protocol.FINAL, epochs=9, steps=0)
    paper = RunConfig(protocol="paper", search_protocol={"epochs": 7})
    assert paper.search_protocol == dataclasses.replace(protocol.PAPER, epochs=7)


def test_what_the_method_does_not_read_is_refused() -> None:
    for more in ({"strategy": "SNES"}, {"children": 4}, {"finalists": 2}, {"evaluations": 300}):
        with pytest.raises(ValueError, match="does nothing without --method search"):
            RunConfig(method="sensitivity", **more)
    with pytest.raises(ValueError, match="does nothing without --method sensitivity"):
        RunConfig(p=1.0)


def test_a_truth_value_is_not_a_number() -> None:
    for name in ("seed", "evaluations", "image_size", "selection_fraction"):
        with pytest.raises(ValueError, match="expected a number"):
            RunConfig(**{name: True})


def test_every_option_is_described() -> None:
    for fields in (RunConfig.model_fields, protocol.PROTOCOL_FIELDS):
        for name, field in fields.items():
            assert field.description, name


def test_the_groups_hold_every_option_once() -> None:
    own = [name for group in config.GROUPS for name in group.model_fields]
    assert sorted(own) == sorted(RunConfig.model_fields)


def test_the_modes_are_those_of_the_core() -> None:
    assert tuple(MODES) == typing.get_args(ModeName)


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parent.parent / "configs").glob("*.yaml")), ids=lambda p: p.stem
)
def test_the_configurations_that_come_along_are_valid(path: Path) -> None:
    assert cli.parse(["--config", str(path)]).mode == "features"
    assert path.read_text().startswith("# ")
