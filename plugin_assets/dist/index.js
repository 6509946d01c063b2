import{Ca as a}from"./chunk.js";export{a as render};
