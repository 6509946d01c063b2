import{a}from"./shared6.js";import"./chunk.js";export{a as KindControls};
