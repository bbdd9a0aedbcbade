"""The look of the report."""

CSS = """
:root { color-scheme: light dark;
  --ink: #1c2530; --soft: #5d6b7a; --line: #dfe4ea; --paper: #ffffff; --ground: #f5f7f9;
  --good: #17795a; --good-ground: #dff3ea; --bad: #b03a2e; --bad-ground: #fbe4e1;
  --calm: #44576d; --calm-ground: #e4eaf1; --accent: #2467ab; }
@media (prefers-color-scheme: dark) { :root {
  --ink: #e4e9ee; --soft: #97a5b3; --line: #2c3640; --paper: #171d24; --ground: #0f1419;
  --good: #6fd3ad; --good-ground: #14382c; --bad: #f0958a; --bad-ground: #43201c;
  --calm: #b4c4d6; --calm-ground: #263341; --accent: #79b4f0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 48px 24px 72px; }
header { margin-bottom: 28px; }
.eyebrow { margin: 0; color: var(--soft); font-size: 13px; letter-spacing: .06em;
  text-transform: uppercase; }
h1 { margin: 6px 0 10px; font-size: 38px; line-height: 1.15; letter-spacing: -.02em; }
h2 { margin: 0 0 14px; font-size: 19px; letter-spacing: -.01em; }
.lead { max-width: 44em; margin: 0; font-size: 18px; color: var(--soft); }
.lead b { color: var(--ink); font-weight: 600; }
.badge { display: inline-block; padding: 3px 12px; border-radius: 999px; font-size: 14px;
  font-weight: 600; letter-spacing: 0; vertical-align: middle; }
.good { color: var(--good); background: var(--good-ground); }
.bad { color: var(--bad); background: var(--bad-ground); }
.calm { color: var(--calm); background: var(--calm-ground); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 12px;
  margin: 26px 0 0; padding: 0; list-style: none; }
.tiles li { padding: 16px 18px; background: var(--paper); border: 1px solid var(--line);
  border-radius: 12px; color: var(--soft); font-size: 14px; }
.value { display: block; color: var(--ink); font-size: 30px; font-weight: 600; line-height: 1.2;
  letter-spacing: -.02em; font-variant-numeric: tabular-nums; }
.value small { margin-left: 4px; font-size: 15px; font-weight: 500; color: var(--soft); }
section { margin-top: 20px; padding: 24px 26px; background: var(--paper);
  border: 1px solid var(--line); border-radius: 14px; }
.note { margin: 10px 0 0; color: var(--soft); font-size: 14px; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 9px 8px; text-align: right; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
th:first-child { padding-left: 0; text-align: left; font-weight: 500; }
thead th { color: var(--soft); font-size: 13px; font-weight: 600; white-space: normal;
  vertical-align: bottom; }
tbody tr:last-child > * { border-bottom: 0; }
.ours th { font-weight: 700; }
.best { font-weight: 700; color: var(--good); }
figure { margin: 18px 0 0; }
figure svg { display: block; width: 100%; max-width: 640px; height: auto; margin: 0 auto;
  font-family: inherit; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 20px; }
.pair figure { margin: 0; }
.strip { display: grid; grid-template-columns: auto 1fr; gap: 2px 12px; align-items: stretch; }
.strip .rows { display: grid; grid-template-rows: repeat(4, 1fr); color: var(--soft);
  font-size: 13px; text-align: right; }
.strip .rows span { align-self: center; }
.strip video { grid-column: 2; display: block; width: 100%; border-radius: 8px;
  margin-top: 8px; }
.strip img { display: block; width: 100%; height: auto; border-radius: 8px; }
.strip figcaption { grid-column: 2; color: var(--soft); font-size: 13px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 6px 22px; margin: 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
.reasons { margin: 0; padding: 0; list-style: none; }
.reasons li { padding: 5px 0 5px 28px; position: relative; }
.reasons li::before { position: absolute; left: 2px; font-weight: 700; }
.yes li::before { content: "\\2713"; color: var(--good); }
.no li::before { content: "\\2715"; color: var(--bad); }
.chain { display: flex; flex-wrap: wrap; gap: 10px 30px; margin: 0; padding: 0; list-style: none; }
.chain li { position: relative; font: 14px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas,
  monospace; }
.chain small { display: block; color: var(--soft); font: 12px/1.4 system-ui, sans-serif; }
.chain li + li::before { content: "\\2192"; position: absolute; left: -22px; bottom: 0;
  color: var(--soft); }
code { font: 13px/1.6 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.line { margin: 16px 0 0; overflow-wrap: anywhere; color: var(--soft); }
pre { margin: 0; padding: 14px 16px; overflow-x: auto; background: var(--ground);
  border: 1px solid var(--line); border-radius: 10px; }
@media (max-width: 560px) { main { padding: 28px 14px; } section { padding: 18px 16px; }
  h1 { font-size: 29px; } .pair { grid-template-columns: 1fr; } dl { grid-template-columns: 1fr; } }
"""
