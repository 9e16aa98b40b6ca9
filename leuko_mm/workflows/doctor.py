"""Examine the environment: does everything fit, and what mends what does not?

Nothing imports torch or MMSegmentation before they are known to import: the doctor
is needed most where they do not.
"""

from __future__ import annotations

from leuko_mm.workflows.doctor_libraries import (
    LIBRARIES,
    check_device,
    check_libraries,
    check_opencv,
    check_python,
    check_stack,
    check_torchvision,
)
from leuko_mm.workflows.finding import FAULT, WARN, Finding
from leuko_mm.workflows.import_probe import probe_imports


def examine() -> list[Finding]:
    """Return the findings on this machine, environment and folder."""
    findings = [check_python(), *check_stack()]
    libraries = probe_imports([*LIBRARIES, "torchvision"])
    findings += check_libraries(libraries)
    findings += [*check_opencv(), check_torchvision(libraries)]
    torch = libraries["torch"]
    if not torch.error:
        findings += check_device(torch)
    if any(f.state == FAULT for f in findings if f.name != "torchvision"):
        words = "not looked at: mend the faults above, and ask again"
        return [*findings, Finding("data, weights, plug-ins", WARN, words)]
    # Imported here: these stand on libraries that are known to load by now.
    from leuko_mm.workflows.doctor_surroundings import check_surroundings

    return findings + check_surroundings()
