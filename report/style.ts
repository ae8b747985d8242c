/** One style sheet for page and pictures: paper and ink, dark on request of the system, legible printed in black and white. */
export const style = `
:root{color-scheme:light dark;--paper:#fbfaf6;--card:#fff;--ink:#1d1c1a;--soft:#5f5b54;--rule:#e3dfd6;--grid:#efece4;
--low:#8a6d3b;--mid:#2b6a6c;--high:#7a2e3a;--kept:#2b5a78;--bar:#fff;--gone:#b9b2a5;--good:#1f6b3a;--bad:#a3271f;--wash:#f3f0e8;--heat:43,90,120}
@media (prefers-color-scheme:dark){:root{--paper:#171614;--card:#1f1e1b;--ink:#ece8e0;--soft:#a8a297;--rule:#37342e;--grid:#2a2824;
--low:#d9b36c;--mid:#6fc1bf;--high:#e58a97;--kept:#6fa8cc;--bar:#10202b;--gone:#6b655b;--good:#7fcf9b;--bad:#f08a80;--wash:#262420;--heat:111,168,204}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 Charter,"Bitstream Charter","Iowan Old Style",Georgia,serif}
main{max-width:1000px;margin:0 auto;padding:48px 32px 96px}
header{border-bottom:3px double var(--rule);padding-bottom:28px;margin-bottom:8px}
h1{font-size:38px;line-height:1.15;margin:0 0 6px;letter-spacing:-.01em}
h2{font-size:25px;line-height:1.25;margin:64px 0 6px}
.sub{color:var(--soft);margin:0}
.lead{max-width:68ch;margin:0 0 18px;color:var(--soft)}
nav{font:13px/1.9 system-ui,sans-serif;margin-top:18px}
nav a{color:var(--soft);text-decoration:none;border-bottom:1px solid var(--rule);margin-right:16px;white-space:nowrap}
nav a:hover{color:var(--ink);border-color:var(--ink)}
.tiles{display:flex;flex-wrap:wrap;gap:1px;background:var(--rule);border:1px solid var(--rule);margin-top:26px}
.tile{flex:1 1 200px;background:var(--card);padding:16px 18px 14px}
.tile b{display:block;font-size:29px;line-height:1.15;font-weight:600;font-variant-numeric:lining-nums tabular-nums;letter-spacing:-.01em}
.tile span{font:12.5px/1.4 system-ui,sans-serif;color:var(--soft);display:block;margin-top:5px}
.tile .good{color:var(--good)}.tile .bad{color:var(--bad)}
figure{margin:0 0 22px;padding:18px 20px 14px;background:var(--card);border:1px solid var(--rule);overflow-x:auto}
figure svg{display:block;max-width:100%;height:auto}
.many{display:grid;grid-template-columns:repeat(auto-fill,minmax(220px,1fr));gap:12px;margin-bottom:22px}
.many.wide{grid-template-columns:repeat(auto-fill,minmax(400px,1fr))}
.many figure{margin:0;padding:10px 8px 6px}
figcaption{font:13px/1.45 system-ui,sans-serif;color:var(--soft);margin-top:10px}
.table{overflow-x:auto;margin:0 0 24px}
table{border-collapse:collapse;width:100%;font:13.5px/1.4 system-ui,sans-serif;font-variant-numeric:tabular-nums}
caption,summary{font:600 13.5px/1.4 system-ui,sans-serif;text-align:left;padding:0 0 7px;color:var(--ink)}
summary{cursor:pointer;font-weight:500;color:var(--soft);padding:4px 0}
details{margin:0 0 14px}details[open] summary{margin-bottom:6px}
th{font-weight:600;color:var(--soft);border-bottom:1.5px solid var(--ink);padding:5px 10px;vertical-align:bottom;text-align:left}
td{border-bottom:1px solid var(--rule);padding:5px 10px;vertical-align:top}
th:first-child,td:first-child{padding-left:0}
.r,td.good,td.bad{white-space:nowrap}.r{text-align:right}
tbody tr:hover{background:var(--wash)}
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}.strong{font-weight:700}.faint{color:var(--soft)}
.note{font:13px/1.5 system-ui,sans-serif;color:var(--soft);border-left:2px solid var(--rule);padding-left:12px;margin:0 0 10px;max-width:80ch}
#provenance td{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:11.5px;overflow-wrap:anywhere}
svg text{font-family:system-ui,sans-serif;fill:var(--ink)}
.label{font-size:13px}svg .strong{font-weight:700}
.tick{font-size:11.5px;fill:var(--soft)!important;font-variant-numeric:tabular-nums}.axis{font-size:12px;fill:var(--soft)!important}
.small{font-size:10px}.onbar{font-size:11px;fill:var(--bar)!important;font-weight:600}
.grid{stroke:var(--grid)}.rule{stroke:var(--grid)}.axisline{stroke:var(--ink)}
.mark{stroke-width:1.6}.m0{--c:var(--low)}.m1{--c:var(--mid)}.m2{--c:var(--high)}.m3{--c:var(--kept)}
.mark{fill:var(--c);stroke:var(--c)}
.mark.hollow{fill:var(--card);stroke:var(--c);stroke-width:1.2;opacity:.75}
.mark.tiny{transform-box:fill-box;transform-origin:center;transform:scale(.62)}
.whisker{stroke:var(--c);stroke-width:1.6;opacity:.75}
.guide{stroke:var(--c);stroke-dasharray:2 4;opacity:.55}
.trace{fill:none;stroke:var(--soft);stroke-width:1;opacity:.4}.trace.strong{stroke:var(--ink);stroke-width:1.6;opacity:.9}
.envelope{fill:none;stroke:var(--ink);stroke-width:1.4;stroke-dasharray:7 4}
.leader{stroke:var(--gone);stroke-width:.7}
.line{fill:none;stroke-width:2}.l0{stroke:var(--kept)}.l1{stroke:var(--low);stroke-width:1;opacity:.55}.l2{stroke:var(--high);stroke-dasharray:6 3}.l3{stroke:var(--mid);stroke-dasharray:2 3}
.chosen{fill:none;stroke:var(--high);stroke-width:2}
.kept{fill:var(--kept)}.removed{fill:url(#hatch);stroke:var(--gone)}.hatchline{stroke:var(--soft);opacity:.6;stroke-width:1.6}
.full{fill:var(--ink)}.windowed{fill:none;stroke:var(--gone)}.windowed.changed{stroke:var(--high);stroke-width:2}
.heat{fill:rgba(var(--heat),var(--a,1))}.h0{--a:.05}.h1{--a:.14}.h2{--a:.25}.h3{--a:.37}.h4{--a:.49}.h5{--a:.62}.h6{--a:.75}.h7{--a:.88}.h8{--a:1}
.gone{fill:url(#hatch);stroke:var(--gone);stroke-width:.6}
@media print{main{max-width:none;padding:0}nav{display:none}figure,.tile{break-inside:avoid}h2{break-after:avoid}details>*{display:block!important}}
`;
