import{a}from"./shared3.js";import"./chunk.js";export{a as probePanel};
