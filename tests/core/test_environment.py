from __future__ import annotations

from ecgnb.core.environment import describe_environment, package_version


def test_a_package_that_is_not_there() -> None:
    assert package_version("no-such-package-at-all") == "not installed"


def test_describe_has_cores_and_disk(tmp_path) -> None:
    result = describe_environment(tmp_path)
    assert result["cpu_cores"] >= 1 and result["disk_free_gb"] > 0
