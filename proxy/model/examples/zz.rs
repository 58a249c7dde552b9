#![allow(missing_docs)]
fn main(){ 
 let a: Vec<std::path::PathBuf> = std::env::args().skip(1).map(Into::into).collect();
 let t=std::time::Instant::now();
 let l = sidle_model::load(&a, &Default::default());
 let took=t.elapsed();
 let n=l.diagnostics.len();
 if n<200 { print!("{}", sidle_model::diagnostic::render_all(&l.diagnostics,&l.texts,false)); }
 println!("{n} diagnostics, {} vs, ir {}, {took:?}", l.config.virtual_services.len(), l.ir.is_some());
}
