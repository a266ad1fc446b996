"""Commands about data: download, mapping, demo, inspect and available."""

from __future__ import annotations

import click

from ecgnb.cli.base import (
    command,
    fs_option,
    json_option,
    print_json,
    print_table,
    units_option,
)


@command()
@click.argument("name")
@click.argument("folder", required=False)
def download(name: str, folder: str | None) -> None:
    """Download a public data set from PhysioNet.

    NAME is a data set such as ptbxl (`ecgnb available` lists them); FOLDER is
    data/NAME by default.
    """
    from ecgnb.data.catalog.download_dataset import download as download_dataset

    print(download_dataset(name, folder or f"data/{name}"))


@command()
@click.argument("name")
@click.argument("folder")
@click.argument("output", default="unified_label_mapping.csv")
@click.option("--label-set", default="unified", show_default=True, help="Label set.")
def mapping(name: str, folder: str, output: str, label_set: str) -> None:
    """Write the label file of a known data set, such as cinc2017.

    FOLDER holds the data set; OUTPUT is unified_label_mapping.csv by default.
    """
    from ecgnb.data.catalog import build_mapping

    print(build_mapping(name, folder, output, label_set=label_set))


@command()
@click.argument("folder")
@click.option("--records", default=1000, show_default=True, help="Recordings.")
@click.option("--seed", default=0, show_default=True, help="Random seed.")
def demo(folder: str, records: int, seed: int) -> None:
    """Generate synthetic recordings as WFDB files with labels."""
    from ecgnb.data.demo.cohort_files import DemoConfig, make_demo

    print(make_demo(folder, DemoConfig(n_records=records, seed=seed)))


@command()
@click.argument("file")
@fs_option
@units_option
@json_option
def inspect(file: str, fs: float | None, units: str | None, as_json: bool) -> None:
    """Show what is in a recording."""
    from ecgnb.data.readers.reading import read_recording

    recording = read_recording(file, fs=fs, units=units)
    # As text, because dates have no form in JSON.
    metadata = {name: str(value) for name, value in recording.metadata.items()}
    if as_json:
        print_json(
            {
                "record_id": recording.record_id,
                "fs": recording.fs,
                "n_samples": recording.n_samples,
                "leads": list(recording.leads),
                **metadata,
            }
        )
        return
    print(recording)
    for name, value in metadata.items():
        print(f"{name:<18} {value}")


@command()
@click.argument("kind", required=False)
@json_option
def available(kind: str | None, as_json: bool) -> None:
    """List models, data sets, transforms, readers and other registered names.

    KIND lists one of them, such as "model".
    """
    from ecgnb.stages.environment_report import available as list_available

    print_table(list_available(kind), as_json)
