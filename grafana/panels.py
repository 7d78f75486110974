"""House defaults of panels: one way to show a number, a course, a table, a state.

A `House` makes the panels of one dashboard in one language; title and description of each come
from panels.csv. Plugin options are set by the typed builders.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    geomap,
    stat,
    statetimeline,
    statushistory,
    timeseries,
)
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models import common as cm
from grafana_foundation_sdk.models import dashboard as m
from grafana_foundation_sdk.models import geomap as geomap_models

from grafana.influxql import DATASOURCE_TYPE, DATASOURCE_UID
from grafana.looks import Look, Looks, Steps, mappings, overrides, thresholds
from grafana.palette import UNKNOWN
from grafana.words import Unit, Words

SOURCE = m.DataSourceRef(type_val=DATASOURCE_TYPE, uid=DATASOURCE_UID)
_NO_TILE = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
"""One transparent dot: an address is needed, or Grafana asks a map service on the internet."""


class House:
    """Makes the panels of one dashboard."""

    def __init__(self, dashboard: str, words: Words) -> None:
        self.dashboard = dashboard
        self.words = words

    def _dressed(
        self,
        panel: m.Panel,
        key: str,
        queries: Sequence[Dataquery],
        *,
        unit: Unit | None = None,
        looks: Looks | None = None,
        steps: Steps = (),
        color: str = "",
        transformations: Sequence[m.DataTransformerConfig] = (),
        interval: str = "",
    ) -> m.Panel:
        text = self.words.panel(self.dashboard, key)
        panel.title = text.title
        panel.description = text.about or None
        panel.datasource = SOURCE
        panel.targets = list(queries)
        panel.transformations = list(transformations)
        panel.interval = interval or None
        config = panel.field_config or m.FieldConfigSource()
        defaults = config.defaults
        if unit is not None:
            defaults.unit, defaults.decimals = unit.grafana, unit.decimals
        if steps:
            defaults.thresholds = thresholds(steps)
            defaults.color = m.FieldColor(mode=m.FieldColorModeId.THRESHOLDS)
        elif color:
            defaults.color = m.FieldColor(mode=m.FieldColorModeId.FIXED, fixed_color=color)
        config.defaults = defaults
        config.overrides = [*(config.overrides or []), *overrides(looks or {})]
        panel.field_config = config
        return panel

    def number(
        self,
        key: str,
        *queries: Dataquery,
        unit: Unit,
        color: str = "",
        steps: Steps = (),
        looks: Looks | None = None,
        transformations: Sequence[m.DataTransformerConfig] = (),
        text: str = "",
        trend: bool = False,
        none: str = "",
        values: Mapping[str, tuple[str, str]] | None = None,
    ) -> m.Panel:
        """One big number. text: name of a text field to show instead. none: what no row means."""
        reduce = common.ReduceDataOptions().calcs(["lastNotNull"])
        if text:
            reduce = reduce.fields(f"/^{text}$/")
        panel = (
            stat.Panel()
            .reduce_options(reduce)
            .color_mode(cm.BigValueColorMode.VALUE)
            .graph_mode(cm.BigValueGraphMode.AREA if trend else cm.BigValueGraphMode.NONE)
            .justify_mode(cm.BigValueJustifyMode.CENTER)
            .text_mode(cm.BigValueTextMode.VALUE)
        )
        if values:
            panel = panel.mappings(mappings(values))
        made = self._dressed(
            panel.build(), key, queries,
            unit=unit, color=color, steps=steps, looks=looks, transformations=transformations,
        )  # fmt: skip
        return _says_when_empty(made, none or self.words["no_data"])

    def course(
        self,
        key: str,
        *queries: Dataquery,
        unit: Unit,
        looks: Looks | None = None,
        bars: bool = False,
        stacked: bool = False,
        interval: str = "",
        transformations: Sequence[m.DataTransformerConfig] = (),
        legend: bool = True,
        sums: bool = False,
        steps: Steps = (),
        least: float | None = None,
        zero: bool = True,
        area: bool = False,
        gap: int = 0,
        year: bool = False,
        day: bool = False,
    ) -> m.Panel:
        """Lines or bars over time.

        area: filled down to 0. year, day: the last twelve months or the last day, whatever the
        range. gap: a line ends where there is nothing for longer than this [ms].
        """
        builder = (
            timeseries.Panel()
            .draw_style(cm.GraphDrawStyle.BARS if bars else cm.GraphDrawStyle.LINE)
            .fill_opacity(80 if bars else 12 if area else 0)
            .line_width(0 if bars else 2)
            .show_points(cm.VisibilityMode.NEVER)
            .bar_width_factor(0.75)
            .bar_alignment(cm.BarAlignment.AFTER)
            .stacking(
                common.StackingConfig()
                .mode(cm.StackingMode.NORMAL if stacked else cm.StackingMode.NONE)
                .group("A")
            )
            .legend(
                common.VizLegendOptions()
                .show_legend(legend)
                .display_mode(cm.LegendDisplayMode.LIST)
                .placement(cm.LegendPlacement.BOTTOM)
                .calcs(["sum"] if sums else [])
            )
            .tooltip(
                common.VizTooltipOptions()
                .mode(cm.TooltipDisplayMode.MULTI)
                .sort(cm.SortOrder.DESCENDING)
            )
        )
        if gap:
            builder = builder.insert_nulls(gap)
        if zero:
            builder = builder.axis_soft_min(0)
        if least is not None:
            builder = builder.min(least)
        if steps:
            builder = builder.thresholds_style(
                common.GraphThresholdsStyleConfig().mode(cm.GraphThresholdsStyleMode.LINE)
            )
        panel = self._dressed(
            builder.build(), key, queries,
            unit=replace(unit, decimals=None),  # the axis chooses its own
            looks=looks, interval=interval, transformations=transformations,
        )  # fmt: skip
        if year:
            panel.time_from, panel.hide_time_override = "now-11M/M", True
        if day:
            panel.time_from, panel.hide_time_override = "24h", True
        if steps and panel.field_config is not None and panel.field_config.defaults is not None:
            panel.field_config.defaults.thresholds = thresholds(steps)
        return panel

    def bars(
        self,
        key: str,
        *queries: Dataquery,
        unit: Unit,
        looks: Looks | None = None,
        color: str = "",
        steps: Steps = (),
        transformations: Sequence[m.DataTransformerConfig] = (),
        value: str = "",
        named_by: str = "",
    ) -> m.Panel:
        """Horizontal bars: one per series, or per row of a table, named by its `named_by`."""
        reduce = common.ReduceDataOptions().values(bool(named_by)).calcs(["lastNotNull"])
        builder = (
            bargauge.Panel()
            .reduce_options(reduce)
            .orientation(cm.VizOrientation.HORIZONTAL)
            .display_mode(cm.BarGaugeDisplayMode.BASIC)
            .value_mode(cm.BarGaugeValueMode.TEXT)
            .name_placement(cm.BarGaugeNamePlacement.LEFT)
            .show_unfilled(False)
            .sizing(cm.BarGaugeSizing.AUTO)
            .min(0)
            .text(common.VizTextDisplayOptions().title_size(14).value_size(14))
        )
        if named_by:  # an override: transformations set a display name of their own
            looks = {value: Look(name=f"${{__data.fields.{named_by}}}"), **(looks or {})}
        return self._dressed(
            builder.build(), key, queries,
            unit=unit, looks=looks, color=color, steps=steps, transformations=transformations,
        )  # fmt: skip

    def rows(
        self,
        key: str,
        *queries: Dataquery,
        looks: Looks,
        transformations: Sequence[m.DataTransformerConfig] = (),
        none: str = "",
        pages: bool = True,
    ) -> m.Panel:
        """A table. none: what it says when it has no row. pages: whole rows only, page by page."""
        builder = (
            tables.Panel()
            .show_header(True)
            .cell_height(cm.TableCellHeight.SM)
            .min_width(80)
            .footer(common.TableFooterOptions().show(False).enable_pagination(pages))
        )
        panel = self._dressed(
            builder.build(), key, queries, looks=looks, transformations=transformations
        )
        return _says_when_empty(panel, none or self.words["dash"])

    def states(
        self,
        key: str,
        *queries: Dataquery,
        values: Mapping[str, tuple[str, str]],
        looks: Looks | None = None,
        interval: str = "",
        transformations: Sequence[m.DataTransformerConfig] = (),
    ) -> m.Panel:
        """One row per series, coloured by state over time."""
        builder = (
            statetimeline.Panel()
            .mappings(mappings(values))
            .show_value(cm.VisibilityMode.NEVER)
            .merge_values(True)
            .row_height(0.8)
            .fill_opacity(85)
            .line_width(0)
            .legend(
                common.VizLegendOptions()
                .show_legend(True)
                .display_mode(cm.LegendDisplayMode.LIST)
                .placement(cm.LegendPlacement.BOTTOM)
            )
        )
        return self._dressed(
            builder.build(), key, queries,
            looks=looks, interval=interval, transformations=transformations,
        )  # fmt: skip

    def grid(
        self,
        key: str,
        *queries: Dataquery,
        unit: Unit | None = None,
        steps: Steps = (),
        values: Mapping[str, tuple[str, str]] | None = None,
        transformations: Sequence[m.DataTransformerConfig] = (),
    ) -> m.Panel:
        """Rows x days, each cell coloured by its number, or by what its text means."""
        builder = (
            statushistory.Panel()
            .mappings(mappings(values or {}))
            .show_value(cm.VisibilityMode.NEVER)
            .row_height(0.86)
            .col_width(0.9)
            .fill_opacity(88)
            .line_width(0)
            .legend(
                common.VizLegendOptions()
                .show_legend(True)
                .display_mode(cm.LegendDisplayMode.LIST)
                .placement(cm.LegendPlacement.BOTTOM)
            )
        )
        return self._dressed(
            builder.build(), key, queries,
            unit=unit, steps=steps, color=UNKNOWN if values else "",
            transformations=transformations,
        )  # fmt: skip

    def map(
        self,
        key: str,
        *queries: Dataquery,
        latitude: str,
        longitude: str,
        color_by: str,
        size_by: str,
        looks: Looks,
        transformations: Sequence[m.DataTransformerConfig],
    ) -> m.Panel:
        """Places coloured by a number. No tiles: they would come from outside the network."""
        layer = (
            common.MapLayerOptions()
            .type("markers")
            .name(self.words["sites"])
            .location(
                common.FrameGeometrySource()
                .mode(cm.FrameGeometrySourceMode.COORDS)
                .latitude(latitude)
                .longitude(longitude)
            )
            .tooltip(True)
            .config(
                {
                    "showLegend": False,
                    "style": {
                        "color": {"field": color_by, "fixed": UNKNOWN},
                        "opacity": 0.75,
                        "size": {"field": size_by, "fixed": 9, "min": 7, "max": 24},
                        "symbol": {"fixed": "img/icons/marker/circle.svg", "mode": "fixed"},
                    },
                }
            )
        )
        builder = (
            geomap.Panel()
            .basemap(common.MapLayerOptions().type("xyz").name("").config({"url": _NO_TILE}))
            .controls(geomap.ControlsOptions().show_zoom(True).mouse_wheel_zoom(False))
            .layers([layer])
        )
        panel = builder.build()
        view = geomap_models.MapViewConfig(id_val="fit", all_layers=True, padding=25, zoom=14)
        if isinstance(panel.options, geomap_models.Options):
            panel.options.view = view
        return self._dressed(panel, key, queries, looks=looks, transformations=transformations)

    def alarms(self, key: str) -> m.Panel:
        """Open alarms of our rules, newest first."""
        panel = m.Panel(
            type_val="alertlist",
            options={
                "viewMode": "list",
                "groupMode": "default",  # a custom one unfolds all labels of all instances
                "groupBy": [],
                "maxItems": 20,
                "sortOrder": 3,
                "dashboardAlerts": False,
                "alertName": "",
                "alertInstanceLabelFilter": "",
                "folder": None,
                "stateFilter": {
                    "firing": True,
                    "pending": False,
                    "noData": False,
                    "normal": False,
                    "error": True,
                },
            },
        )
        text = self.words.panel(self.dashboard, key)
        panel.title, panel.description = text.title, text.about or None
        return panel


def _says_when_empty(panel: m.Panel, text: str) -> m.Panel:
    if panel.field_config is not None and panel.field_config.defaults is not None:
        panel.field_config.defaults.no_value = text
    return panel
