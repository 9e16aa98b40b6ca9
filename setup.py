"""Package leuko_mm; tool settings are in pyproject.toml, bounds in requirements/."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def requirements(name: str) -> list[str]:
    """Return the requirement lines of a file in requirements/."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def version() -> str:
    """Return the version that leuko_mm/__init__.py states, without importing it."""
    text = (ROOT / "leuko_mm" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, flags=re.MULTILINE).group(1)


def config_packages() -> list[str]:
    """Return the folders of configs/ under the names that they have when installed."""
    configs = ROOT / "configs"
    below = [path for path in configs.rglob("*") if path.is_dir()]
    return [
        ".".join(("leuko_mm", *folder.relative_to(ROOT).parts))
        for folder in (configs, *sorted(below))
        if folder.name != "__pycache__"
    ]


TRAIN = requirements("train") + requirements("mminstall")
TESTED = TRAIN + requirements("tests")
for extra in ("onnx", "dask", "app"):
    TESTED += requirements(extra)

setup(
    name="leuko-mm",
    version=version(),
    description="Leukocyte segmentation with parts registered into MMSegmentation",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE", "NOTICE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Topic :: Scientific/Engineering :: Medical Science Apps.",
    ],
    python_requires=">=3.10",
    packages=find_packages(include=["leuko_mm", "leuko_mm.*"]) + config_packages(),
    # Configs stand beside the package in the clone and travel inside it when
    # installed, so that `leuko train cbam_unet` works without a clone.
    package_dir={"leuko_mm.configs": "configs"},
    package_data={
        "leuko_mm": [
            "**/*.html",
            "**/*.css",
            "**/*.js",
            "**/*.json",
            "zoo/*.pth",
            "zoo/onnx/*",
            "zoo/*.md",
        ],
        "leuko_mm.configs": ["**/*.yml"],
    },
    install_requires=requirements("base"),
    extras_require={
        "train": TRAIN,
        "onnx": requirements("onnx"),
        "openvino": requirements("openvino"),
        "dask": requirements("dask"),
        "app": requirements("app"),
        "docs": requirements("docs"),
        "tests": TESTED,
        "dev": TESTED + requirements("dev"),
    },
    entry_points={"console_scripts": ["leuko = leuko_mm.cli.main:main"]},
    zip_safe=False,
)
