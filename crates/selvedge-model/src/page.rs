//! A failed execution as a page with a picture: a lane for each task, an arrow
//! from what made an operation possible to what waited for it.

use std::fmt::Write as _;
use std::path::PathBuf;

/// In pixels: a row, what is above the first, what is left of the lanes, and
/// the most that a letter takes.
const ROW: usize = 34;
const TOP: usize = 60;
const LEFT: usize = 70;
const LETTER: usize = 8;

/// What the page shows.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) name: String,
    pub(crate) engine: &'static str,
    pub(crate) headline: String,
    /// Which search found it, and when.
    pub(crate) about: String,
    /// Who waits for what.
    pub(crate) waits: Vec<String>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) rows: Vec<Row>,
    /// The objects, and where each was made.
    pub(crate) legend: Vec<String>,
    pub(crate) command: String,
}

/// A column.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(crate) task: usize,
    pub(crate) name: String,
    /// Where it was started.
    pub(crate) place: String,
}

/// An operation.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) task: usize,
    pub(crate) object: Option<usize>,
    /// What was done, and what it gave.
    pub(crate) text: String,
    /// The same with the object's name and the line.
    pub(crate) cell: String,
    /// What is shown where one points at it.
    pub(crate) more: String,
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn list(items: &[String]) -> String {
    items.iter().map(|item| format!("<li>{}</li>", escape(item))).collect()
}

impl Page {
    /// Writes the page, if `SELVEDGE_TRACE=html` asks for it; adds to `message`
    /// where it is.
    pub(crate) fn write(&self, message: &mut String) {
        if std::env::var("SELVEDGE_TRACE").is_ok_and(|trace| trace == "html") {
            let folder = std::env::var_os("SELVEDGE_TRACE_DIR")
                .map_or_else(std::env::temp_dir, PathBuf::from);
            let name = format!("{}-{}.html", self.name.replace("::", "-"), self.engine);
            let path = folder.join(name);
            let written =
                std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, self.html()));
            let _ = match written {
                Ok(()) => write!(message, "\npicture: {}", path.display()),
                Err(error) => write!(message, "\nno picture: {}: {error}", path.display()),
            };
        }
    }

    /// One self-contained file.
    fn html(&self) -> String {
        let waits = if self.waits.is_empty() {
            String::new()
        } else {
            format!("<h2>Who waits</h2><ul>{}</ul>", list(&self.waits))
        };
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}</title>\n\
             <style>body{{font:15px/1.5 system-ui,sans-serif;margin:2rem;color:#1b1f24;background:#fff}}\
             svg{{max-width:none}}.scroll{{overflow-x:auto}}.lane{{font-weight:600;font-size:15px}}\
             .place,.row{{fill:#667;font-size:12px}}.op{{font:12px ui-monospace,monospace;white-space:pre;\
             paint-order:stroke;stroke:#fff;stroke-width:4px}}\
             .rail{{stroke:#ccd;stroke-width:2}}circle{{fill:#2563a8}}\
             .arrow{{stroke:#b4540a;fill:none;stroke-width:1.5}}.tip{{fill:#b4540a}}\
             code{{background:#f2f3f5;padding:.1em .3em}}</style></head>\n<body><h1>{name}</h1>\
             <p><strong>{headline}</strong></p><p>{about}.</p>{waits}\
             <p>An arrow leads to an operation from the last one before it on the same object, \
             where that was another task's and it may have waited for it.</p>\
             <div class=\"scroll\">{svg}</div><h2>Objects</h2><ul>{legend}</ul>\
             <p>Replay: <code>{command}</code></p></body></html>\n",
            name = escape(&self.name),
            headline = escape(&self.headline),
            about = escape(&self.about),
            svg = self.svg(),
            legend = list(&self.legend),
            command = escape(&self.command),
        )
    }

    fn svg(&self) -> String {
        let (starts, width) = self.columns();
        let column = |task: usize| self.lanes.iter().position(|lane| lane.task == task);
        let x = |task: usize| column(task).map_or(LEFT, |column| starts[column]);
        let y = |row: usize| TOP + ROW * row;
        let mut svg = String::new();
        let height = y(self.rows.len()) + 20;
        let _ = write!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\">\n<defs><marker id=\"tip\" viewBox=\"0 0 10 10\" \
             refX=\"9\" refY=\"5\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
             <path d=\"M0 0L10 5L0 10z\" class=\"tip\"/></marker></defs>\n"
        );
        for lane in &self.lanes {
            let _ = writeln!(
                svg,
                "<text x=\"{x}\" y=\"22\" class=\"lane\">{}</text><text x=\"{x}\" y=\"40\" \
                 class=\"place\">{}</text><line x1=\"{x}\" y1=\"48\" x2=\"{x}\" y2=\"{}\" \
                 class=\"rail\"/>",
                escape(&lane.name),
                escape(&lane.place),
                height - 10,
                x = x(lane.task),
            );
        }
        // Below the words, which stay readable.
        for (number, row) in self.rows.iter().enumerate() {
            let (cx, cy) = (x(row.task), y(number));
            if let Some(cause) = self.cause(number) {
                let _ = writeln!(
                    svg,
                    "<path d=\"M{} {}L{cx} {}\" class=\"arrow\" marker-end=\"url(#tip)\"/>",
                    x(self.rows[cause].task),
                    y(cause) + 5,
                    cy - 5
                );
            }
        }
        for (number, row) in self.rows.iter().enumerate() {
            let (cx, cy) = (x(row.task), y(number));
            let _ = writeln!(
                svg,
                "<text x=\"8\" y=\"{}\" class=\"row\">{}</text><circle cx=\"{cx}\" cy=\"{cy}\" \
                 r=\"5\"/><text x=\"{}\" y=\"{}\" class=\"op\">{}<title>{}</title></text>",
                cy + 4,
                number + 1,
                cx + 12,
                cy + 4,
                escape(&row.cell),
                escape(&row.more),
            );
        }
        svg.push_str("</svg>");
        svg
    }

    /// Where each lane starts, and where the last one ends: a lane is as wide as
    /// what stands in it.
    fn columns(&self) -> (Vec<usize>, usize) {
        let letters = |lane: &Lane| {
            let rows = self.rows.iter().filter(|row| row.task == lane.task);
            let rows = rows.map(|row| row.cell.chars().count());
            rows.chain([lane.name.chars().count() + 4, lane.place.chars().count()]).max()
        };
        let mut end = LEFT;
        let starts = self.lanes.iter().map(|lane| {
            let start = end;
            end += letters(lane).unwrap_or(0) * LETTER + 40;
            start
        });
        (starts.collect(), end)
    }

    /// The operation of another task that this one waited for: the last one on
    /// the same object, or the one that speaks of the lane.
    fn cause(&self, number: usize) -> Option<usize> {
        let row = &self.rows[number];
        let waited = ["lock", "wait", "recv", "join", "park", "read()", "write()", "end of"]
            .iter()
            .any(|start| row.text.starts_with(start));
        if !waited || row.text.starts_with("wait():") {
            return None;
        }
        let mut before = self.rows[..number].iter().enumerate().rev();
        match row.object {
            Some(object) => before
                .find(|(_, other)| other.object == Some(object))
                .filter(|(_, other)| other.task != row.task)
                .map(|(index, _)| index),
            None if row.text.starts_with("park") => {
                before.find(|(_, other)| other.text.starts_with("unpark")).map(|(index, _)| index)
            }
            None => None,
        }
    }
}
