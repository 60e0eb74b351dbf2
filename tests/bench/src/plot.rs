//! The servers' CPU time for a request as bars, a group for each load.

use std::fmt::Write;

use serde_json::Value;

const BAR: f64 = 18.0;
const GAP: f64 = 26.0;
const LEFT: f64 = 230.0;
const WIDTH: f64 = 460.0;

/// An SVG of what was measured of `CheckPermission`.
pub(crate) fn bars(measured: &[Value]) -> String {
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let checks: Vec<&Value> = measured.iter().filter(|value| value["what"] == "CheckPermission").collect();
    let cpu = |value: &Value| value["cpu_us_per_request"].as_f64().unwrap_or(0.0);
    let most = checks.iter().map(|value| cpu(value)).fold(1.0, f64::max);
    let (mut body, mut y, mut last) = (String::new(), 30.0, String::new());
    for value in checks {
        let (load, server) = (text(value, "load"), text(value, "server"));
        if load != last {
            y += GAP;
            let _ = writeln!(body, r#"<text x="8" y="{}" font-weight="bold">{load}</text>"#, y - 6.0);
            last = load;
        }
        let (length, colour) =
            (cpu(value) / most * WIDTH, if server == "Usher" { "#2563eb" } else { "#94a3b8" });
        let _ =
            writeln!(body, r#"<text x="{}" y="{}" text-anchor="end">{server}</text>"#, LEFT - 8.0, y + 13.0);
        let _ = writeln!(
            body,
            r#"<rect x="{LEFT}" y="{y}" width="{length:.1}" height="{}" fill="{colour}"/>"#,
            BAR - 4.0
        );
        let _ = writeln!(
            body,
            r#"<text x="{:.1}" y="{}">{:.1}</text>"#,
            LEFT + length + 6.0,
            y + 13.0,
            cpu(value)
        );
        y += BAR;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"8\" y=\"20\" font-size=\"14\">CheckPermission: µs of server CPU per request (connections × calls at \
         once)</text>\n{body}</svg>\n",
        LEFT + WIDTH + 70.0,
        y + 16.0
    )
}
