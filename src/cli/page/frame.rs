//! What every page has around its content: the head, the style, and parts that reports share.

use super::escape::escape;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2430;--soft:#5b6675;--ground:#fff;--card:#f5f7fa;\
--line:#d5dbe3;--c0:#0b62b0;--c1:#b3470a;--c2:#1b7a44;--c3:#8a2f8f;--c4:#5b6675}\
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#a5b0bf;--ground:#12161c;\
--card:#1b212a;--line:#38424f;--c0:#6db3f2;--c1:#f0a060;--c2:#6fd095;--c3:#dd9ae0;--c4:#a5b0bf}}\
*{box-sizing:border-box}body{margin:0 auto;padding:16px;max-width:1240px;color:var(--ink);\
background:var(--ground);font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}\
h1{font-size:1.5rem;margin:.2em 0}h2{font-size:1.25rem;margin:1.6em 0 .3em}\
h3{font-size:1rem;margin:1.2em 0 .3em}p{margin:.4em 0;max-width:75ch}.soft{color:var(--soft)}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,340px),1fr));gap:16px}\
figure{margin:0;padding:12px;background:var(--card);border-radius:8px;min-width:0}\
figcaption{font-weight:600;margin-bottom:4px}svg{display:block;width:100%;height:auto}\
svg text{font-size:13px;fill:var(--soft)}.end{text-anchor:end}.mid{text-anchor:middle}\
.grid{stroke:var(--line);stroke-width:1}.line{fill:none;stroke-width:2}\
.s0{stroke:var(--c0)}.s1{stroke:var(--c1);stroke-dasharray:6 3}.s2{stroke:var(--c2)}\
.s3{stroke:var(--c3);stroke-dasharray:6 3}.s4{stroke:var(--c4);stroke-dasharray:2 3}\
.dot{fill:var(--card);stroke-dasharray:none}.legend{list-style:none;margin:4px 0 0;padding:0;\
display:flex;flex-wrap:wrap;gap:2px 14px;font-size:.85rem}.legend li{display:flex;\
align-items:center;gap:6px}.key{width:24px;height:8px;flex:none}.unit{color:var(--soft)}\
.wide{overflow-x:auto;margin:6px 0}\
table{border-collapse:collapse;font-size:.9rem;overflow-wrap:normal}\
th,td{padding:4px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}\
th:first-child,td:first-child{text-align:left}.bar{display:block;height:10px;background:var(--c0);\
border-radius:2px}.bars{display:grid;grid-template-columns:minmax(0,auto) minmax(40px,1fr) auto;\
gap:4px 10px;align-items:center;max-width:640px;font-size:.9rem}\
.bars span{min-width:0}pre{background:var(--card);padding:12px;border-radius:8px;overflow-x:auto;\
font-size:.9rem}.name{margin:8px 0 2px;font-size:.9rem}.track{position:relative;height:14px;\
background:var(--line);border-radius:3px}.track span{position:absolute;top:0;bottom:0}\
.span{background:var(--c0);opacity:.55;border-radius:3px}.point{width:8px;margin-left:-4px;\
background:var(--c0);border-radius:4px}.limit{width:2px;background:var(--c1)}\
.scale{position:relative;height:1.5em;font-size:.75rem;color:var(--soft);white-space:nowrap}\
.scale span{position:absolute;transform:translateX(-50%)}.scale span:first-child{transform:none}\
.scale span:last-child{transform:translateX(-100%)}\
.verdict{display:inline-block;padding:2px 10px;border-radius:6px;font-weight:700;\
border:2px solid var(--c4)}.go{border-color:var(--c2);color:var(--c2)}\
.no_go{border-color:var(--c1);color:var(--c1)}.left td,.left th{text-align:left}\
.left td{white-space:normal;overflow-wrap:anywhere;min-width:9em}";

/// A whole page of this title. `content` is HTML.
pub(in crate::cli) fn write_frame(title: &str, content: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"/><title>Tidegate: {}</title><style>{STYLE}\
         </style></head><body><main>{content}</main></body></html>\n",
        escape(title)
    )
}

/// A paragraph of a text.
pub(in crate::cli) fn write_paragraph(text: &str) -> String {
    format!("<p>{}</p>", escape(text))
}

/// Names with bars as long as their counts, which `tell` writes.
pub(in crate::cli) fn write_bars(
    counts: impl Iterator<Item = (String, u64)>,
    tell: fn(u64) -> String,
) -> String {
    let counts: Vec<_> = counts.collect();
    let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
    if most == 0 {
        return write_paragraph("None.");
    }
    let mut out = "<div class=\"bars\">".to_owned();
    for (name, count) in counts {
        out.push_str(&format!(
            "<span>{}</span><span><span class=\"bar\" style=\"width:{}%\"></span></span>\
             <span>{}</span>",
            escape(&name),
            (count * 100 / most).max(1),
            escape(&tell(count))
        ));
    }
    out.push_str("</div>");
    out
}
