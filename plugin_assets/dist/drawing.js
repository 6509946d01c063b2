import{a}from"./shared4.js";import"./chunk.js";export{a as probePanel};
