"""An image registry of one's own, which charts and images come through where public ones are out of reach."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any

from pydantic import AfterValidator

from components.section import refuse
from components.versions import Chart


def _check_registry(value: str) -> str:
    if not re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+(:\d+)?(/[a-z0-9]+([._-][a-z0-9]+)*)*", value):
        refuse(
            "not the address of a registry",
            allowed="a host and perhaps a path, without scheme and without a slash at the end",
            change="write it like 111122223333.dkr.ecr.ap-northeast-2.amazonaws.com/mirror",
        )
    return value


ImageRegistry = Annotated[str, AfterValidator(_check_registry)]
"""Host and path of a registry, without scheme: what stands before every image's own address."""


def is_regional(registry: str, region: str) -> bool:
    """Whether this is a private ECR of the region, the only kind that the endpoints of a VPC reach."""
    host = registry.partition("/")[0]
    return re.fullmatch(rf"\d{{12}}\.dkr\.ecr\.{re.escape(region)}\.amazonaws\.(com|com\.cn|eu)", host) is not None


def image_from(registry: str | None, reference: str) -> str:
    """Where an image is pulled from: its own address, or the registry with the whole address behind it.

    With `example.com/mirror`, `quay.io/team/app:v1` is `example.com/mirror/quay.io/team/app:v1`. The host stays in the
    path, so that no two images collide, and so that ECR's pull-through cache rules can be named alike.

    Args:
        registry: host and path, or None for the public registries.
        reference: an image with its host, with or without tag.
    """
    return reference if registry is None or reference.startswith(f"{registry}/") else f"{registry}/{reference}"


def chart_from(registry: str | None, chart: Chart) -> Chart:
    """The chart at its own address, or as an OCI artefact in the registry: host and path stay here too.

    A folder or an archive on disk, and what is in the registry already, stay as they are.
    """
    scheme, _, address = (
        f"{chart.repository.rstrip('/')}/{chart.chart}" if chart.repository else chart.chart
    ).partition("://")
    if registry is None or scheme not in ("oci", "https"):
        return chart
    return replace(chart, chart=f"oci://{image_from(registry, address)}", repository=None)


def values_from(registry: str | None, chart: Chart, values: Mapping[str, Any]) -> dict[str, Any]:
    """The chart's values, with the registry before every image that the chart installs by itself.

    A value that says already where an image comes from is left alone.
    """
    found = dict(values)
    if registry is not None:
        for path, address in chart.images.items():
            *way, last = path.split(".")
            here = found
            for key in way:
                # Only what is on the way is copied: values may hold Outputs, which cannot be.
                here[key] = dict(here.get(key, {}))
                here = here[key]
            here.setdefault(last, image_from(registry, address))
    return found
