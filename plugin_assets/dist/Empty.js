import{da as e,ga as o}from"./chunk.js";var r=`.empty code{padding:1px 5px;border-radius:4px;background:var(--sunken);color:var(--text);font-size:13px}
`;var a=`import lrp_monitor as lrp

probes = lrp.ProbeSet(x_probe, labels=y_probe, class_names=names)  # a few fixed samples
monitor = lrp.LRPMonitor(probes, log_dir="runs/a", every=1)

model.fit(x, y, epochs=20, callbacks=[monitor])`;function l(){return o(r),e("main",{class:"empty","data-testid":"empty",children:[e("h1",{children:"No heatmaps here yet"}),e("p",{children:"This page shows where your model looks while it learns: heatmaps of a few fixed samples at every logged step, with the weight and gradient histograms of that very step. Add one callback to your training:"}),e("pre",{tabIndex:0,"aria-label":"Code that logs heatmaps",children:a}),e("p",{children:["Then start TensorBoard on the folder above your runs, here ",e("code",{children:"tensorboard --logdir runs"}),". This page looks for new runs by itself; there is no need to reload it."]}),e("p",{children:["No model at hand? ",e("code",{children:"lrp-monitor demo --log-dir runs"})," trains two small ones, of which one learns a shortcut."]})]})}export{l as Empty};
