"""The look of report pages: one style sheet, light and dark, no scripts and nothing loaded from elsewhere."""

STYLE = """
:root { color-scheme: light dark; --page:#f6f7f9; --card:#ffffff; --ink:#1b2430; --soft:#5b6675; --line:#e1e5ea;
  --accent:#2f6fdb; --bar:#c9d3df; --own:#2f6fdb; --code:#f1f3f6; }
@media (prefers-color-scheme: dark) { :root { --page:#12161c; --card:#1b2129; --ink:#e6eaf0; --soft:#9aa6b5;
  --line:#2c3540; --accent:#7fb0ff; --bar:#3a4653; --own:#6ea3f7; --code:#141a21; } }
* { box-sizing: border-box; }
body { margin:0; background:var(--page); color:var(--ink); line-height:1.5;
  font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif; }
main, .top, footer { max-width:1180px; margin:0 auto; padding:0 20px; }
.top { padding-top:40px; }
h1 { font-size:2rem; line-height:1.2; margin:0 0 6px; letter-spacing:-.02em; }
h2 { font-size:1.35rem; margin:44px 0 14px; letter-spacing:-.01em; }
h2 small { font-weight:400; font-size:.95rem; color:var(--soft); margin-left:.6em; }
h3 { font-size:1rem; margin:0; }
p { margin:.4em 0; }
.lead, .better, figcaption, .unit, .note, .dim { color:var(--soft); }
.lead { font-size:1.02rem; max-width:75ch; }
nav { display:flex; flex-wrap:wrap; gap:8px; margin-top:16px; }
nav a { color:var(--accent); text-decoration:none; border:1px solid var(--line); background:var(--card);
  border-radius:999px; padding:3px 14px; font-size:.92rem; }
nav a:hover { border-color:var(--accent); }
.cards { display:flex; flex-wrap:wrap; gap:14px; margin:18px 0 6px; }
.cards .card { flex:1 1 230px; }
.card { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:16px 18px; min-width:0; }
.stat b { display:block; font-size:1.75rem; line-height:1.25; letter-spacing:-.02em;
  font-variant-numeric:tabular-nums; }
.stat .name { font-size:.9rem; color:var(--soft); }
.stat .note { font-size:.84rem; margin-top:4px; }
.stat .unit { font-size:.85rem; letter-spacing:0; color:var(--soft); }
.metrics, .figures { columns:2 440px; column-gap:14px; }
.metrics .card, figure { break-inside:avoid; margin:0 0 14px; }
.metrics .card:only-child, figure.wide { column-span:all; }
figure.wide { margin:14px 0; }
.scroll { overflow-x:auto; }
table { border-collapse:collapse; width:100%; font-size:.93rem; }
th, td { padding:7px 0; border-top:1px solid var(--line); text-align:left; vertical-align:top; font-weight:400; }
tr:first-child > * { border-top:0; }
th { padding-right:14px; }
td.num { text-align:right; white-space:nowrap; font-variant-numeric:tabular-nums; }
td.bar { width:32%; padding-left:14px; vertical-align:middle; }
td.bar i { display:block; height:9px; border-radius:5px; background:var(--bar); min-width:2px; }
tr.own th, tr.own td.num { font-weight:650; }
tr.own .note, tr.own .tag, tr.own .dim { font-weight:400; }
tr.own td.bar i { background:var(--own); }
.tag { display:inline-block; margin-left:8px; padding:0 8px; border-radius:999px; font-size:.78rem;
  color:var(--soft); background:var(--code); white-space:nowrap; }
.tag:empty { display:none; }
.note { display:block; font-size:.82rem; }
.better { font-size:.82rem; margin:0 0 8px; }
.unit { font-weight:400; font-size:.85rem; }
figure { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:14px;
  min-width:0; }
figure img { display:block; max-width:100%; height:auto; margin:0 auto; background:#fff; border-radius:6px; }
figcaption { font-size:.9rem; margin-top:10px; }
details { background:var(--card); border:1px solid var(--line); border-radius:12px; padding:10px 18px;
  margin-top:14px; }
summary { cursor:pointer; font-weight:600; }
pre { overflow-x:auto; background:var(--code); padding:12px 14px; border-radius:8px; font-size:.84rem; margin:10px 0; }
dl { display:grid; grid-template-columns:max-content 1fr; gap:4px 18px; font-size:.9rem; margin:10px 0; }
dt { color:var(--soft); }
dd { margin:0; overflow-wrap:anywhere; }
footer { color:var(--soft); font-size:.85rem; padding:34px 20px 40px; }
@media (prefers-color-scheme: dark) { figure img.ink { filter:invert(.9) hue-rotate(180deg); background:none; } }
@media (max-width:560px) { main, .top, footer { padding:0 12px; } figure img[width] { max-width:none; }
  figure img.ink { width:max(100%,560px); } figure img:not(.ink) { max-width:max(100%,560px); }
  h1 { font-size:1.6rem; } td.bar { display:none; } dl { grid-template-columns:1fr; }
  dt { margin-top:6px; } }
@media print { body { background:#fff; } .card, figure { break-inside:avoid; } }
"""
