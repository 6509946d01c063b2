import{a}from"./shared5.js";import"./chunk.js";export{a as probePanel};
