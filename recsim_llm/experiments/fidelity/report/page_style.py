"""CSS of the certificate's HTML page: for screens of any width, light and dark mode, and print."""

STYLE = """
:root{color-scheme:light dark;--ink:#1b2631;--paper:#fff;--card:#f5f7f8;--line:#dde3e6;--soft:#5f6b73;
--pass:#1d7a54;--fail:#b8283e;--warn:#e0712c}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaed;--paper:#13171b;--card:#1c2228;--line:#343e46;--soft:#9ba7af;
--pass:#5cc79a;--fail:#f2788a}}
*{box-sizing:border-box}
body{font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;color:var(--ink);
background:var(--paper);margin:0;-webkit-text-size-adjust:100%}
main{max-width:70rem;margin:0 auto;padding:2rem 1.2rem 4rem}
h1{margin:.1em 0 .5em;font-size:1.9rem;line-height:1.2;overflow-wrap:anywhere}
h2{margin:2.4em 0 .5em;font-size:1.25rem}h3{margin:1.6em 0 .4em;font-size:1rem}
p{max-width:48rem;overflow-wrap:anywhere}
.over{margin:0;text-transform:uppercase;letter-spacing:.09em;font-size:.75rem;color:var(--soft)}
.lead{font-size:1.12rem}.soft{color:var(--soft);font-size:.9rem}
.warnings{border-left:4px solid var(--warn);background:var(--card);padding:.7rem 1.1rem;margin:1.2rem 0;max-width:48rem}
.warnings ul{margin:.3em 0 0;padding-left:1.1em}.warnings li{overflow-wrap:anywhere}
dl.facts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(10.5rem,45%),1fr));
gap:.6rem 1.5rem;margin:1.5rem 0}
dl.facts dt{font-size:.75rem;color:var(--soft)}dl.facts dd{margin:0;overflow-wrap:anywhere}
.scroll{overflow-x:auto}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
table.metrics{width:100%}
th,td{padding:.36em .7em;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap;vertical-align:top}
th{font-weight:600;color:var(--soft);vertical-align:bottom}
thead th{white-space:normal}
th:first-child,td:first-child,td.words,th.words{text-align:left}
tbody th[scope=rowgroup]{text-align:left;color:var(--ink);padding-top:1.4em;border-bottom:2px solid var(--line)}
td.gate{white-space:normal;min-width:8.5rem;text-align:left}td.why{text-align:left;white-space:normal;color:var(--soft)}
td.own,tr.own td{font-weight:600}.best{text-decoration:underline;text-underline-offset:.2em}
small{display:block;color:var(--soft);font-weight:400}
.pass{color:var(--pass)}.fail{color:var(--fail);font-weight:700}.unknown{color:var(--soft)}
.dir{color:var(--soft);padding-left:.3em}
[title]{text-decoration:none;cursor:help}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(19rem,100%),1fr));gap:1rem}
figure{margin:0;border:1px solid var(--line);border-radius:8px;padding:.7rem}
figure.wide{max-width:52rem;margin:1.4rem 0}
figure svg{display:block;width:100%;height:auto}figure svg text{font-family:inherit!important}
.narrow{display:none}
figcaption{font-size:.82rem;color:var(--soft);margin-top:.4rem}
pre{background:var(--card);padding:.8em 1em;white-space:pre-wrap;
overflow-wrap:anywhere;border-radius:6px;font-size:.86rem}
code{font-size:.86em;overflow-wrap:anywhere}
dl.meanings{font-size:.9rem;columns:26rem;column-gap:2rem}dl.meanings div{break-inside:avoid;padding-bottom:.7em}
dl.meanings dt{font-weight:600}dl.meanings dd{margin:0}dl.meanings code{font-weight:400;color:var(--soft)}
@media screen and (max-width:44rem){
main{padding:1.2rem .9rem 3rem}h1{font-size:1.5rem}.broad{display:none}.narrow{display:block}
table.metrics thead{display:none}table.metrics,table.metrics tbody{display:block}
table.metrics tr{display:grid;grid-template-columns:1fr 1.35fr 1.3fr;column-gap:.5rem;
border-bottom:1px solid var(--line);padding:.5em 0}
table.metrics td,table.metrics th{border:0;padding:.1em 0;text-align:left;min-width:0;white-space:normal}
table.metrics tr>*:first-child{grid-column:1/3;font-weight:600}
table.metrics td.verdict{grid-column:3;grid-row:1;text-align:right}
table.metrics td.why{grid-column:1/4}table.metrics td.gate{order:0}
table.metrics td[data-of=floor],table.metrics td[data-of=bar],table.metrics td[data-of=ceiling]{order:1}
table.metrics td[data-of]::before{content:attr(data-of);display:block;font-size:.72rem;color:var(--soft)}
table.metrics th[scope=rowgroup]{grid-column:1/4;padding-top:1em}
table.plain td:first-child{position:sticky;left:0;background:var(--paper);white-space:normal;max-width:8.5rem;
overflow-wrap:anywhere}
}
@page{margin:14mm}
@media print{:root{--ink:#000;--paper:#fff;--card:#f5f7f8;--line:#ccc;--soft:#555;--pass:#1d7a54;--fail:#b8283e}
body{font-size:10pt}h1{font-size:16pt}h2{margin-top:1.6em}main{max-width:none;padding:0}
figure,tr,dl.meanings div{break-inside:avoid}h2,h3,tr:has(th[scope=rowgroup]){break-after:avoid}
figure.wide{max-width:15cm}.figures{grid-template-columns:1fr 1fr 1fr;gap:.5rem}figure{padding:.4rem}
th,td{padding:.22em .4em;font-size:8pt}td.gate{min-width:9rem}dl.meanings{columns:2;font-size:8.5pt}}
"""
