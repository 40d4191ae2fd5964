"""The command dashboard wandb: lays out a project of Weights & Biases in the sections that all dashboards have."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from noisylab.cli.errors import UserError
from noisylab.cli.running.loggers.panels import SECTIONS
from noisylab.cli.running.loggers.wandb import PROJECT, logged_in

if TYPE_CHECKING:
    from noisylab.cli.options import Options

__all__ = ["wandb_workspace", "write_workspace"]

_COLUMNS = ("summary:headline", "summary:val/acc", "config:method", "config:noise", "config:noise_rate", "config:seed")
_RESULT = "Test accuracy by the recipe's protocol"
_MOST_RUNS = 100  # that a chart draws; a study has more than the ten of W&B


def write_workspace(options: Options) -> int:
    """Save a view of a project on the W&B server.

    Args:
        options: ``--project``, ``--entity``, ``--group``, ``--dry_run``.

    Returns:
        The exit status.

    Raises:
        UserError: if it is not known whose project it is, nobody is logged in, or the package is not there.
    """
    if options.places != ["wandb"]:
        given = " ".join(options.places) or "nothing"
        raise UserError(
            f"noisylab dashboard lays out a project of wandb, got {given}: noisylab dashboard wandb --project P\n"
            "  TensorBoard has the same sections by itself, under CUSTOM SCALARS; MLflow and Trackio have no such layouts"
        )
    project = options.own.get("project") or os.environ.get("WANDB_PROJECT") or PROJECT
    entity, group = options.own.get("entity") or os.environ.get("WANDB_ENTITY"), options.own.get("group")
    if "dry_run" in options.own:
        print(_told(project, group))
        return 0
    if not entity:
        raise UserError("noisylab dashboard wandb needs --entity NAME: the user or team that the project belongs to")
    workspace = wandb_workspace(entity, project, group)
    if not logged_in():
        raise UserError(
            "noisylab dashboard wandb writes to the server of W&B, and nobody is logged in: wandb login, or WANDB_API_KEY\n"
            "  offline runs appear there after wandb sync; --dry_run lists the charts without a server"
        )
    workspace.save()
    print(f"saved: {workspace.url}")
    return 0


def wandb_workspace(entity: str, project: str, group: str | None = None) -> Any:
    """The view, not yet saved: sections of charts over the epoch, runs that differ in the seed alone drawn as one.

    Args:
        entity: user or team.
        project: of them.
        group: only runs of this group, as a study's name; None for all.

    Raises:
        UserError: if wandb-workspaces is not installed.
    """
    try:
        import wandb_workspaces.reports.v2 as charts
        import wandb_workspaces.workspaces as views
        from wandb_workspaces import expr
    except ImportError as error:
        raise UserError(
            f'noisylab dashboard wandb needs the package wandb-workspaces ({error}): pip install "noisylab[workspaces]"'
        ) from error

    methods = charts.BarPlot(
        title=_RESULT,
        metrics=["headline"],
        groupby=charts.Config("method"),
        groupby_aggfunc="mean",
        groupby_rangefunc="stddev",
    )
    sections = [views.Section(name="Results", panels=[methods], is_open=True)]
    for section in SECTIONS:
        panels = [charts.LinePlot(title=panel.title, x="epoch", y=list(panel.metrics)) for panel in section.panels]
        sections.append(views.Section(name=section.title, panels=panels, is_open=True))
    runs = views.RunsetSettings(
        filters="" if group is None else expr.And(expr.Metric("Group") == group),
        groupby=[expr.Config("method"), expr.Config("noise"), expr.Config("noise_rate")],
        pinned_columns=list(_COLUMNS),
    )
    name = "noisylab" if group is None else f"noisylab {group}"
    settings = views.WorkspaceSettings(x_axis="epoch", max_runs=_MOST_RUNS)
    return views.Workspace(entity=entity, project=project, name=name, sections=sections, settings=settings, runset_settings=runs)


def _told(project: str, group: str | None) -> str:
    lines = [f"project {project}" + ("" if group is None else f", runs of the group {group!r}")]
    lines += ["Results", f"  {_RESULT}: headline"]
    for section in SECTIONS:
        lines.append(section.title)
        lines += [f"  {panel.title}: {', '.join(panel.metrics)}" for panel in section.panels]
    return "\n".join(lines)
