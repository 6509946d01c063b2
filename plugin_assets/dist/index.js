import{Aa as a}from"./chunk.js";export{a as render};
