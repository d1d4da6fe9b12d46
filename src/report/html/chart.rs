//! A figure as data. It becomes a small SVG picture for a reader without scripts, and the
//! description from which the page's script draws the interactive one.

use maud::{Markup, html};
use serde::Serialize;

use super::axis::Axis;

/// The size of a picture, and the room for the labels of its axes, in units of the picture.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;

/// The number of colors of series. Further series use them again, dashed.
pub(super) const COLORS: usize = 6;

/// The number of shades of a heat map.
pub(super) const SHADES: u8 = 6;

/// A figure with two axes.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Chart {
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) heat: Option<Heat>,
    /// Ranges of x that are shaded.
    pub(super) bands: Vec<Band>,
    /// Values of x with a line.
    pub(super) marks: Vec<Mark>,
}

/// A line, or points.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Series {
    pub(super) name: String,
    /// The number of its color.
    pub(super) color: usize,
    pub(super) kind: Kind,
    pub(super) points: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Line,
    Dashed,
    /// Dots alone.
    Dots,
}

/// Shades of cells.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Heat {
    /// Where each column begins and ends.
    pub(super) columns: Vec<(f64, f64)>,
    /// Where rows begin; the last value is the end of the last row.
    pub(super) edges: Vec<f64>,
    /// For each column the shades of its rows, from 0 (empty) to [`SHADES`], a digit each.
    pub(super) cells: Vec<String>,
}

/// A shaded range of x.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Band {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) text: String,
}

/// A line at a value of x.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Mark {
    pub(super) at: f64,
    pub(super) text: String,
}

impl Series {
    /// Creates the series of this number.
    pub(super) fn new(name: &str, number: usize, points: Vec<(f64, f64)>) -> Series {
        let kind = if number < COLORS { Kind::Line } else { Kind::Dashed };
        Series { name: name.to_owned(), color: number % COLORS, kind, points }
    }

    pub(super) fn of_kind(self, kind: Kind) -> Series {
        Series { kind, ..self }
    }
}

impl Chart {
    /// Creates a figure of series alone.
    pub(super) fn of(x: Axis, y: Axis, series: Vec<Series>) -> Chart {
        Chart { x, y, series, heat: None, bands: Vec::new(), marks: Vec::new() }
    }

    fn px(&self, x: f64) -> f64 {
        LEFT + self.x.place(x) * (WIDTH - LEFT - RIGHT)
    }

    fn py(&self, y: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(y) * (HEIGHT - TOP - BOTTOM)
    }

    /// Draws the picture. `text`: what it shows, for a reader that does not see it.
    pub(super) fn svg(&self, text: &str) -> Markup {
        html! {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label=(text) {
                @if let Some(heat) = &self.heat { (self.heat_svg(heat)) }
                (self.bands_svg())
                (self.axes_svg())
                @for series in &self.series { (self.series_svg(series)) }
            }
        }
    }

    fn axes_svg(&self) -> Markup {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        html! {
            g.axis {
                @for (index, (value, text)) in self.y.ticks().into_iter().enumerate() {
                    @let y = self.py(value);
                    path.grid d=(format!("M{LEFT} {y:.1}H{right}")) {}
                    text.even[index % 2 == 1] x=(LEFT - 7.0) y=(format!("{:.1}", y + 4.0))
                        text-anchor="end" { (text) }
                }
                @for (index, (value, text)) in self.x.ticks().into_iter().enumerate() {
                    @let x = self.px(value);
                    path.grid d=(format!("M{x:.1} {TOP}V{bottom}")) {}
                    text.even[index % 2 == 1] x=(format!("{x:.1}")) y=(bottom + 17.0)
                        text-anchor="middle" { (text) }
                }
                text.title x=(right) y=(HEIGHT - 6.0) text-anchor="end" { (self.x.title) }
                text.title x=(LEFT + 6.0) y=(TOP + 12.0) { (self.y.title) }
                path.frame d=(format!("M{LEFT} {TOP}V{bottom}H{right}")) {}
            }
        }
    }

    fn series_svg(&self, series: &Series) -> Markup {
        let at: Vec<(f64, f64)> =
            series.points.iter().map(|(x, y)| (self.px(*x), self.py(*y))).collect();
        let line = at
            .iter()
            .enumerate()
            .map(|(index, (x, y))| format!("{}{x:.1} {y:.1}", if index == 0 { "M" } else { "L" }));
        let has_dots = series.kind == Kind::Dots;
        html! {
            @if series.kind != Kind::Dots {
                path class=(format!("line c{}", series.color)) d=(line.collect::<String>())
                    stroke-dasharray=[(series.kind == Kind::Dashed).then_some("6 4")] {}
            }
            @if has_dots {
                @for (x, y) in &at {
                    circle class=(format!("dot c{}", series.color)) r="3.5"
                        cx=(format!("{x:.1}")) cy=(format!("{y:.1}")) {}
                }
            }
        }
    }

    fn bands_svg(&self) -> Markup {
        let (height, bottom) = (HEIGHT - TOP - BOTTOM, HEIGHT - BOTTOM);
        html! {
            @for band in &self.bands {
                @let (from, to) = (self.px(band.from), self.px(band.to));
                rect.band x=(format!("{from:.1}")) y=(TOP) height=(height)
                    width=(format!("{:.1}", (to - from).max(1.0))) {}
                text.note x=(format!("{:.1}", to - 6.0)) y=(bottom - 8.0) text-anchor="end" {
                    (band.text)
                }
            }
            @for mark in &self.marks {
                @let x = self.px(mark.at);
                @let is_right = x > (LEFT + WIDTH) / 2.0;
                path.mark d=(format!("M{x:.1} {TOP}V{bottom}")) {}
                text.note x=(format!("{:.1}", if is_right { x - 6.0 } else { x + 6.0 }))
                    y=(TOP + 30.0) text-anchor=(if is_right { "end" } else { "start" }) {
                    (mark.text)
                }
            }
        }
    }

    /// Draws the cells: one path for each shade, and one stroke for neighbours of one shade, which
    /// is a fraction of the text of a rectangle for each cell.
    fn heat_svg(&self, heat: &Heat) -> Markup {
        let rows = heat.edges.len().saturating_sub(1);
        let center = |row: usize| (self.py(heat.edges[row]) + self.py(heat.edges[row + 1])) / 2.0;
        let height = if rows > 0 { self.py(heat.edges[0]) - self.py(heat.edges[1]) } else { 0.0 };
        let path_of = |shade: u8| {
            let mut path = String::new();
            for row in 0..rows {
                let mut end = f64::NAN;
                for ((from, to), cells) in heat.columns.iter().zip(&heat.cells) {
                    if cells.as_bytes().get(row) != Some(&(b'0' + shade)) {
                        continue;
                    }
                    let (from, to) = (self.px(*from).round(), self.px(*to).round());
                    if from != end {
                        path.push_str(&format!("M{from} {:.1}", center(row)));
                    }
                    path.push_str(&format!("H{to}"));
                    end = to;
                }
            }
            path
        };
        // A little wider than a row, so that no gap shows between rows.
        html! {
            g.heat stroke-width=(format!("{:.1}", height + 0.3)) {
                @for shade in 1..=SHADES {
                    path class=(format!("h{shade}")) d=(path_of(shade)) {}
                }
            }
        }
    }

    /// Names the series with their colors.
    pub(super) fn legend(&self) -> Markup {
        html! {
            p.legend {
                @for series in &self.series { span { (key(series)) (series.name) } }
            }
        }
    }
}

/// Draws what a series looks like.
fn key(series: &Series) -> Markup {
    let color = format!("c{}", series.color);
    let dashes = (series.kind == Kind::Dashed).then_some("6 4");
    html! {
        svg.key viewBox="0 0 26 10" aria-hidden="true" {
            @if series.kind == Kind::Dots {
                circle class=(format!("dot {color}")) cx="13" cy="5" r="4" {}
            } @else {
                path class=(format!("line {color}")) d="M1 5H25" stroke-dasharray=[dashes] {}
            }
        }
    }
}
