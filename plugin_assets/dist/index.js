import{Ua as a}from"./chunk.js";export{a as render};
