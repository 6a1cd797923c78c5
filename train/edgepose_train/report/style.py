"""The style sheet of a report, for a wide screen, a phone and paper. Words repeat what colours show."""

CSS = """
:root { color-scheme: light; --page: #fff; --ink: #1b1f24; --soft: #57606a; --line: #d0d7de; --card: #f6f8fa;
  --good: #0a5c2f; --good-card: #f0f9f3; --bad: #9a3412; --bad-card: #fdf5f0; }
@media screen and (prefers-color-scheme: dark) {
  :root { color-scheme: dark; --page: #14171b; --ink: #e6e9ec; --soft: #a3adb8; --line: #3a424b; --card: #20262c;
    --good: #7ddba0; --good-card: #17271d; --bad: #ffab85; --bad-card: #2d1e17; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1120px; padding: 1.2rem 1rem 3rem; color: var(--ink); background: var(--page);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .2rem; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 .6rem; padding-top: .6rem; border-top: 1px solid var(--line); }
p, ul { margin: .4rem 0 .8rem; max-width: 75ch; }
.soft, figcaption { color: var(--soft); }
.soft, figcaption, table { font-size: .9rem; }
.verdict { border-left: 6px solid var(--good); background: var(--good-card); padding: .8rem 1rem; margin: 1rem 0; }
.verdict.bad { border-color: var(--bad); background: var(--bad-card); }
.verdict strong { color: var(--good); } .verdict.bad strong { color: var(--bad); }
.verdict p { font-size: 1.1rem; margin: 0 0 .3rem; } .verdict ul { margin-bottom: 0; padding-left: 1.2rem; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(135px, 1fr)); gap: .6rem; margin: 1rem 0; }
.numbers div { background: var(--card); padding: .6rem .8rem; border-radius: 6px; }
.numbers dt { color: var(--soft); font-size: .85rem; }
.numbers dd { margin: 0; font-size: 1.3rem; font-weight: 600; white-space: nowrap; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(330px, 100%), 1fr)); gap: 1rem; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(400px, 100%), 1fr)); gap: 1.2rem;
  align-items: start; margin-top: 1rem; }
figure { margin: 0; min-width: 0; }
figure svg, figure img { display: block; width: 100%; height: auto; border-radius: 4px; }
figure.plot img { max-width: 560px; background: #fff; }
summary { cursor: pointer; margin: 1rem 0; }
svg .edge { fill: none; stroke: #000; stroke-opacity: .65; } svg .label { fill: none; stroke: #fff; }
svg .dot { stroke: #000; }
svg text { font-family: system-ui, sans-serif; font-weight: 600; fill: #fff; stroke: #000; paint-order: stroke;
  stroke-linejoin: round; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; max-width: none; margin: .4rem 0 1rem; font-size: .9rem; }
.legend span { display: inline-flex; align-items: center; gap: .4rem; }
.legend svg { width: 26px; height: 26px; background: #6e7781; border-radius: 4px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .5rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
td, thead th { white-space: nowrap; }
th:first-child { text-align: left; } thead th { color: var(--soft); } tbody th { font-weight: 400; }
tfoot th, tfoot td { font-weight: 600; }
th[colspan] { text-align: center; border-left: 1px solid var(--line); } th[rowspan] { vertical-align: bottom; }
thead th.words, td.words { text-align: left; white-space: normal; min-width: 9rem; }
.wide { overflow-x: auto; }
.wide tbody th, .wide tfoot th, .wide th[rowspan] { position: sticky; left: 0; background: var(--page);
  max-width: 12rem; }
.wide tr.marked td, .wide tr.marked th { background: var(--bad-card); }
.facts tbody th { color: var(--soft); width: 12rem; }
.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
code, pre { font: .9em/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
pre { background: var(--card); padding: .7rem .9rem; border-radius: 6px; white-space: pre-wrap; }
@media (max-width: 520px) {
  body { padding: .8rem .8rem 2rem; } h1 { font-size: 1.25rem; }
  th, td { padding: .3rem .35rem; } .numbers { grid-template-columns: 1fr 1fr; }
  .facts tbody th, .facts tbody td { display: block; width: auto; padding: .1rem 0; }
  .facts tbody th { border: 0; padding-top: .5rem; }
}
@media print {
  body { max-width: none; font-size: 11pt; padding: 0; } figure, tr, .verdict { break-inside: avoid; }
  h2 { break-after: avoid; } .pictures { grid-template-columns: 1fr 1fr 1fr; } details { display: none; }
  th, td { padding: .2rem .35rem; } .wide { overflow: visible; font-size: 9pt; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
