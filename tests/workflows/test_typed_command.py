"""What a user is told to type can be typed."""

import shlex

import pytest

from leuko_mm.workflows.typed_command import as_typed, resuming


def test_a_command_line_is_quoted_for_a_shell():
    words = ["leuko train", "my unet.py", "--cfg-options", "a.b=[1, 2]", "c='x'"]
    typed = as_typed(words)
    assert shlex.split(typed) == ["leuko", "train", *words[1:]]


def test_a_script_is_run_by_python():
    assert as_typed(["tools/train.py", "unet"]) == "python tools/train.py unet"
    assert as_typed([]) == ""


@pytest.mark.parametrize("entrance", ["--force", "--resume", "--forc", "--res"])
def test_going_on_resumes_once_and_forces_nothing(entrance):
    said = resuming(["leuko train", "unet", entrance, "--data", "my cells"])
    assert said == "go on with:\n    leuko train unet --data 'my cells' --resume"


def test_options_that_only_look_alike_are_kept():
    said = resuming(["leuko train", "unet", "--no-amp", "--cfg-options", "a=--"])
    assert "--no-amp --cfg-options a=-- --resume" in said


def test_where_a_launcher_began_it_its_own_command_is_the_user_s():
    said = resuming(["leuko train", "unet", "--launcher", "slurm"], launcher="slurm")
    assert "starting, as before," in said
    assert said.endswith("leuko train unet --launcher slurm --resume")


def test_from_python_it_is_a_field_of_the_request():
    assert resuming([]) == "go on with resume=True"
