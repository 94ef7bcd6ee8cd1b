//! The same as a page with a picture: a lane for each task, an arrow from what
//! made an operation possible to what waited for it.

use super::{Facts, Failed, cell, line};
use crate::engine::exec::Event;
use std::fmt::Write as _;

const LANE: usize = 300;
const ROW: usize = 34;
const TOP: usize = 60;

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// One self-contained file.
pub(crate) fn html(failed: &Failed, facts: &Facts<'_>) -> String {
    let lanes = failed.lanes();
    let names = failed.names();
    let x = |task: usize| 70 + LANE * lanes.iter().position(|lane| *lane == task).unwrap_or(0);
    let y = |row: usize| TOP + ROW * row;
    let mut svg = String::new();
    let (width, height) = (70 + LANE * lanes.len().max(1), y(failed.events.len()) + 20);
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" role=\"img\">\n<defs><marker id=\"tip\" viewBox=\"0 0 10 10\" \
         refX=\"9\" refY=\"5\" markerWidth=\"7\" markerHeight=\"7\" orient=\"auto\">\
         <path d=\"M0 0L10 5L0 10z\" class=\"tip\"/></marker></defs>\n"
    );
    for lane in &lanes {
        let made = &failed.tasks[*lane];
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"22\" class=\"lane\">{}</text><text x=\"{}\" y=\"40\" \
             class=\"place\">{}</text><line x1=\"{}\" y1=\"48\" x2=\"{}\" y2=\"{}\" \
             class=\"rail\"/>",
            x(*lane),
            escape(&made.lane(*lane)),
            x(*lane),
            escape(&line(made.made)),
            x(*lane),
            x(*lane),
            height - 10
        );
    }
    for (row, event) in failed.events.iter().enumerate() {
        let (cx, cy) = (x(event.task), y(row));
        let _ = writeln!(
            svg,
            "<text x=\"8\" y=\"{}\" class=\"row\">{}</text><circle cx=\"{cx}\" cy=\"{cy}\" \
             r=\"5\"/><text x=\"{}\" y=\"{}\" class=\"op\">{}<title>{} at {} after {:?}</title></text>",
            cy + 4,
            row + 1,
            cx + 12,
            cy + 4,
            escape(&cell(event, &names)),
            escape(&event.text),
            escape(&line(event.at)),
            event.clock
        );
        if let Some(cause) = cause(&failed.events, row) {
            let _ = writeln!(
                svg,
                "<path d=\"M{} {}L{cx} {}\" class=\"arrow\" marker-end=\"url(#tip)\"/>",
                x(failed.events[cause].task),
                y(cause) + 5,
                cy - 5
            );
        }
    }
    svg.push_str("</svg>");
    let list = |items: Vec<String>| {
        items.iter().map(|item| format!("<li>{}</li>", escape(item))).collect::<String>()
    };
    let waits = if matches!(failed.failure, crate::engine::Failure::Deadlock { .. }) {
        format!("<h2>Who waits</h2><ul>{}</ul>", list(failed.waits()))
    } else {
        String::new()
    };
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name}</title>\n\
         <style>body{{font:15px/1.5 system-ui,sans-serif;margin:2rem;color:#1b1f24;background:#fff}}\
         svg{{max-width:none}}.scroll{{overflow-x:auto}}.lane{{font-weight:600;font-size:15px}}\
         .place,.row{{fill:#667;font-size:12px}}.op{{font:12px ui-monospace,monospace}}\
         .rail{{stroke:#ccd;stroke-width:2}}circle{{fill:#2563a8}}\
         .arrow{{stroke:#b4540a;fill:none;stroke-width:1.5}}.tip{{fill:#b4540a}}\
         code{{background:#f2f3f5;padding:.1em .3em}}</style></head>\n<body><h1>{name}</h1>\
         <p><strong>{headline}</strong></p><p>{claim}; failed in execution {at}.</p>{waits}\
         <div class=\"scroll\">{svg}</div><h2>Objects</h2><ul>{legend}</ul>\
         <p>Replay: <code>{command}</code></p></body></html>\n",
        name = escape(facts.name),
        headline = escape(&failed.headline()),
        claim = escape(&facts.claim),
        at = facts.at,
        legend = list(failed.legend()),
        command = escape(&facts.command),
    )
}

/// The event of another task that this one waited for: the last one on the
/// same object, or the one that speaks of the lane.
fn cause(events: &[Event], row: usize) -> Option<usize> {
    let event = &events[row];
    let waited = ["lock", "waited", "recv", "join", "park", "read()", "write()", "end of"]
        .iter()
        .any(|start| event.text.starts_with(start));
    if !waited {
        return None;
    }
    let before = events[..row].iter().enumerate().rev();
    match event.object {
        Some(object) => before
            .filter(|(_, other)| other.object == Some(object))
            .map(|(index, other)| (index, other.task))
            .next()
            .filter(|(_, task)| *task != event.task)
            .map(|(index, _)| index),
        None if event.text.starts_with("park") => {
            before.filter(|(_, other)| other.text.starts_with("unpark")).map(|(i, _)| i).next()
        }
        None => None,
    }
}
