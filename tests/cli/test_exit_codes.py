"""Every error of the toolkit ends a command with its own exit code and one line."""

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from rag.cli.exit_codes import EXIT_CODES, ExitCode, ReportingGroup, exit_code
from rag.core import errors


def below(kind: type[Exception]) -> Iterator[type[Exception]]:
    for child in kind.__subclasses__():
        yield child
        yield from below(child)


def made(kind: type[Exception]) -> Exception:
    return kind.__new__(kind)


@pytest.mark.parametrize("kind", list(below(errors.RagError)), ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_of_its_own(kind: type[Exception]) -> None:
    if kind is not errors.ProgramError:  # a bug in a program, so an unexpected error
        assert exit_code(made(kind)) is not ExitCode.UNEXPECTED


def test_the_help_lists_every_code() -> None:
    listed = {int(line.split()[0]) for line in EXIT_CODES.splitlines() if line[2:3].isdigit()}
    assert listed == set(ExitCode)


def failing(error: BaseException) -> click.Group:
    @click.group(cls=ReportingGroup)
    @click.option("--debug", is_flag=True)
    def group(debug: bool) -> None: ...

    @group.command()
    def work() -> None:
        raise error

    return group


def run(error: BaseException) -> tuple[int, str]:
    done = CliRunner().invoke(failing(error), ["work"])
    return done.exit_code, done.stderr


def test_an_error_is_one_line() -> None:
    code, said = run(errors.LoadError("notes.pdf", "it is password-protected"))
    assert (code, said) == (3, "error: notes.pdf: it is password-protected\n")


def test_a_message_of_several_lines_is_one_line_too() -> None:
    assert run(errors.InputError("two\n  lines")) == (3, "error: two lines\n")


def test_an_unexpected_error_is_one_line_with_the_next_step() -> None:
    code, said = run(ZeroDivisionError("division by zero"))
    assert code == 1
    assert said.startswith("error: unexpected ZeroDivisionError: division by zero;")
    assert "--debug" in said
    assert said.count("\n") == 1


def test_debug_lets_the_error_through() -> None:
    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError()).main(["--debug", "work"])


def test_control_c_ends_with_130() -> None:
    assert run(KeyboardInterrupt()) == (130, "stopped\n")
