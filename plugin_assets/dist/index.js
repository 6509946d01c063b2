import{$a as a}from"./chunk.js";export{a as render};
