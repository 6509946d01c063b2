import{a}from"./shared2.js";import"./chunk.js";export{a as probePanel};
