import{a}from"./shared7.js";import"./chunk.js";export{a as KindControls};
